"""`lens up | down | status | env | doctor`: the private stack itself."""

import os
import pathlib
import signal
import socket
import subprocess

import pytest

from stack import BIN, PROCESSES, SERVICES, Stack, wait_for


def test_up_makes_a_stack_that_answers(stack):
    status = stack.ready()
    assert status["supervised"]
    for name in SERVICES + PROCESSES:
        service = status["services"][name]
        assert service["state"] == "ready", (name, service)
        assert service["pid"] > 1 and service["rss_mb"] > 0 and service["restarts"] == 0
    assert stack.query("select 1") == [(1,)]
    assert stack.redis().config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert stack.redis().config_get("appendonly")["appendonly"] == "yes"


def test_up_twice_changes_nothing(stack):
    before = {name: stack.service(name)["pid"] for name in SERVICES + PROCESSES}
    again = stack.up()
    assert again["topics_created"] == 0 and again["migrations_applied"] == 0
    assert {name: stack.service(name)["pid"] for name in SERVICES + PROCESSES} == before


def test_env_is_shell(stack):
    script = f'eval "$({BIN}/lens env --export)"; for v in PGHOST PGPORT PGUSER PGDATABASE REDIS_PORT KAFKA_BOOTSTRAP; do printenv $v; done'
    lines = subprocess.run(["bash", "-ec", script], env=stack.environment(), text=True, capture_output=True, check=True).stdout.split()
    env = stack.env()
    assert lines == [env[v] for v in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "REDIS_PORT", "KAFKA_BOOTSTRAP")]
    assert env["PGHOST"] == "127.0.0.1"


def test_everything_listens_on_loopback_only(stack):
    env = stack.env()
    ports = {int(env["PGPORT"]), int(env["REDIS_PORT"]), int(env["KAFKA_BOOTSTRAP"].rsplit(":", 1)[1])}
    listeners, found = set(), set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            address, step = line.split()[1], line.split()[3]
            host, port = address.rsplit(":", 1)
            if step == "0A" and int(port, 16) in ports:
                listeners.add(host)
                found.add(int(port, 16))
    assert found == ports, "somebody listens on each"
    assert listeners <= {"0100007F", "0000000000000000FFFF00000100007F"}, listeners


def test_postgres_is_not_root(stack):
    owner = pathlib.Path(f"/proc/{stack.service('postgres')['pid']}").stat().st_uid
    assert owner != 0


@pytest.mark.parametrize("name", SERVICES + PROCESSES)
def test_what_is_killed_comes_back(stack, name):
    before = stack.service(name)["restarts"]
    pid = stack.kill(name)
    state = stack.wait_restarted(name, pid)
    assert state["restarts"] == before + 1
    wait_for("all is ready again", lambda: stack.status()["ready"])


def test_two_homes_live_side_by_side(stack, home):
    before = {name: stack.service(name)["pid"] for name in SERVICES + PROCESSES}
    home.up("--no-processes")
    ours, theirs = stack.env(), home.env()
    assert not {ours["PGPORT"], ours["REDIS_PORT"], ours["KAFKA_BOOTSTRAP"]} & {
        theirs["PGPORT"], theirs["REDIS_PORT"], theirs["KAFKA_BOOTSTRAP"]}
    home.query("create table only_there ()")
    assert stack.query("select to_regclass('only_there')") == [(None,)]
    home.lens("down")
    stack.ready()
    assert {name: stack.service(name)["pid"] for name in SERVICES + PROCESSES} == before


def test_down_keeps_data_and_ports_and_purge_leaves_nothing(home):
    home.up("--no-processes")
    env = home.env()
    home.redis().set("kept", "1")
    home.query("create table kept ()")
    outside = pathlib.Path("/var/lib/loyalty-lens")
    home.lens("down")
    wait_for("no process is left", lambda: not home.pids(), 5)
    assert home.run("status").returncode == 4
    home.up("--no-processes")
    assert home.env() == env
    assert home.redis().get("kept") == "1"
    assert home.query("select to_regclass('kept') is not null") == [(True,)]
    home.lens("down", "--purge")
    assert not home.home.exists()
    assert not home.pids()
    assert not outside.exists() or any(outside.iterdir())
    assert home.run("down", "--purge").returncode == 0


def test_a_home_that_postgres_cannot_reach(home):
    """Under a directory that is closed to others, as /root is."""
    closed = home.home / "closed"
    closed.mkdir(mode=0o700)
    inner = Stack(closed / "home")
    try:
        inner.up("--no-processes")
        assert inner.query("select 1") == [(1,)]
        kept = (inner.home / "postgres").resolve()
        inner.lens("down", "--purge")
        assert not kept.exists()
    finally:
        inner.run("down", "--purge")


def test_down_ends_what_lost_its_supervisor(home):
    home.up("--no-processes")
    supervisors = [pid for pid, line in home.pids().items() if line.startswith("runsv")]
    subprocess.run(["kill", "-9", *map(str, supervisors)], check=True)
    assert home.pids(), "the services live on"
    home.lens("down", "--purge")
    assert not home.pids() and not home.home.exists()


def test_a_taken_port_is_said_with_its_owner(home):
    home.up("--no-processes")
    port = int(home.env()["REDIS_PORT"])
    home.lens("down")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen(1)
        refused = home.run("up", "--no-processes")
        assert refused.returncode == 1
        assert str(port) in refused.stderr and "redis" in refused.stderr and "pid" in refused.stderr
        assert "--new-ports" in refused.stderr
        home.lens("up", "--no-processes", "--new-ports")
        assert int(home.env()["REDIS_PORT"]) != port


def test_an_unknown_key_is_named_with_file_and_line(home):
    home.configure("accrue: {\n  flush_ms = 500;\n  flush_s = 1;\n};\n")
    for args in (["up"], ["status"], ["env"]):
        refused = home.run(*args)
        assert refused.returncode == 2, refused
        assert f"{home.home}/lens.conf:3" in refused.stderr and "flush_s" in refused.stderr
    found = home.run("doctor")
    assert found.returncode == 3 and "lens.conf:3" in found.stdout
    assert list(home.home.iterdir()) == [home.home / "lens.conf"], "nothing was made"


def test_a_bad_value_and_a_missing_file(home):
    home.configure("redis: {\n  port = 99999;\n};\n")
    refused = home.run("status")
    assert refused.returncode == 2 and "lens.conf:2" in refused.stderr
    refused = home.run("--config", "/nowhere/lens.conf", "status")
    assert refused.returncode == 2 and "/nowhere/lens.conf" in refused.stderr


def test_a_service_that_lens_conf_names_is_used_and_not_started(stack, home):
    env = stack.env()
    home.configure(f'redis: {{ host = "{env["REDIS_HOST"]}"; port = {env["REDIS_PORT"]}; }};\n')
    up = home.up("--no-processes")
    assert not up["services"]["redis"]["private"] and up["services"]["kafka"]["private"]
    assert not (home.home / "service" / "redis").exists()
    assert home.service("redis")["state"] == "external"


def test_up_twice_beside_a_named_service_changes_nothing(stack, home):
    """Ports were chosen anew, and everything restarted, each time: a port was missing that nobody needs."""
    env = stack.env()
    home.configure(f'postgres: {{ host = "127.0.0.1"; port = {env["PGPORT"]}; user = "lens"; }};\n')
    home.up("--no-processes")
    before, address = {name: home.service(name)["pid"] for name in ("kafka", "redis")}, home.env()["KAFKA_BOOTSTRAP"]
    home.up("--no-processes")
    assert {name: home.service(name)["pid"] for name in ("kafka", "redis")} == before
    assert home.env()["KAFKA_BOOTSTRAP"] == address


def test_a_named_service_that_is_not_there(home):
    home.configure('redis: { host = "127.0.0.1"; port = 1; };\n')
    refused = home.run("up", "--no-processes")
    assert refused.returncode == 4
    assert "127.0.0.1:1" in refused.stderr and "lens.conf" in refused.stderr


def test_a_directory_of_somebody_else_is_refused_and_never_removed(home):
    precious = home.home / "precious.txt"
    precious.write_text("mine")
    refused = home.run("up", "--no-processes")
    assert refused.returncode == 1 and str(home.home) in refused.stderr
    assert home.run("down", "--purge").returncode == 0
    assert precious.read_text() == "mine"


def test_usage_errors(home):
    for args in (["nonsense"], ["up", "--nonsense"], ["down", "extra"], []):
        assert home.run(*args).returncode == 2
    assert home.run("--help").returncode == 0


def test_an_interrupted_up_is_finished_by_the_next(home):
    for patience_s in (0.1, 0.6, 1.5):
        up = subprocess.Popen([str(BIN / "lens"), "up", "--no-processes"], env=home.environment(), stdout=subprocess.DEVNULL)
        try:
            up.wait(patience_s)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
    home.up("--no-processes")
    assert home.query("select 1") == [(1,)]
    assert home.redis().ping()


def test_a_changed_configuration_restarts_only_our_processes(home):
    home.up()
    before = {name: home.service(name)["pid"] for name in SERVICES + PROCESSES}
    home.configure("accrue: { flush_ms = 500; };\n")
    home.up()
    after = {name: home.service(name) for name in SERVICES + PROCESSES}
    for name in SERVICES:
        assert after[name]["pid"] == before[name]
    for name in PROCESSES:
        assert after[name]["pid"] != before[name] and after[name]["restarts"] == 0


def test_a_full_disk_is_said_before_anything_is_made(home):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    small = home.home / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)], check=False).returncode != 0:
        pytest.skip("no mounts here")
    try:
        refused = Stack(small / "home").run("up", "--no-processes")
        assert refused.returncode == 1
        assert "MB free" in refused.stderr and str(small) in refused.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_crash_is_told_in_the_log(home):
    home.up("--no-processes")
    pid = home.service("redis")["pid"]
    os.kill(pid, signal.SIGSEGV)
    home.wait_restarted("redis", pid)
    assert home.crash_reports() and "signal=11" in home.crash_reports()[0]
    home.lens("down", "--purge")
