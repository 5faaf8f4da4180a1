"""A real streaming standby: taken for the primary by mistake, and promoted although it lags. What was committed after it had stopped
following comes again from Kafka."""

import os
import signal
import subprocess

import aftermath
import figures
from stack import BIN, ROOT, wait_for
from standby_kit import place, servers  # noqa: F401 - fixtures
from test_kill import compare, credited
from test_outages import SETTINGS, Load, all_is_there, pids, says, waits

SALES, RATE = 9000, 300


def address(switch) -> str:
    return f'postgres: {{ host = "127.0.0.1"; port = {switch.port}; user = "lens"; }};\n'


def test_a_standby_that_is_taken_for_the_primary(home, servers):  # noqa: F811
    primary, standby, switch = servers
    home.configure(SETTINGS + address(switch))
    home.up()
    standby.follow(primary)
    before, load = pids(home), Load(home)
    load.start()
    wait_for("sales are credited", lambda: credited(home) > 200, 60)

    switch.lead_to(standby)
    for process in ("accrue", "segment", "notify"):
        says(home, process, f"postgres 127.0.0.1:{switch.port}", "25006", "standby", "set postgres.host to the primary")
    assert home.run("status").returncode == 4
    os.kill(before["accrue"], signal.SIGTERM)
    wait_for("another accrue", lambda: pids(home)["accrue"] not in (None, before["accrue"]), 30)
    says(home, "accrue", "25006", "standby", "postgres.host")
    before["accrue"] = pids(home)["accrue"]
    refused = home.run("up")
    assert refused.returncode == 4 and "25006" in refused.stderr and "set postgres.host to the primary" in refused.stderr
    assert standby.ask("select pg_is_in_recovery()"), "nobody has promoted it"

    primary.stop()  # it gives all that it has to who follows it
    at = standby.ask("select sum(credited)::int8 from loyalty.partitions")
    standby.ask("select pg_promote()")
    wait_for("credits go on by themselves", lambda: load.goes_on() and credited(home) > at + RATE, 60)
    wait_for("nobody waits any more", lambda: home.status()["ready"], 60, 0.5)
    load.finish()
    all_is_there(home, load)
    assert pids(home) == before, f"a process ended: {waits(home)}"


def generate(stack, out):
    return subprocess.Popen([BIN / "lens", "generate", "--topics", "--out", out, "--seed", "11", "--sales", str(SALES), "--rate",
                             str(RATE), "--defects", "3"], env=stack.environment(), cwd=ROOT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def test_a_failover_to_a_standby_that_lags(home, servers, tmp_path):  # noqa: F811
    primary, standby, switch = servers
    home.configure(aftermath.CONFIGURATION + address(switch))
    home.up()
    before = pids(home)
    standby.follow(primary)
    producing = generate(home, tmp_path)
    try:
        wait_for("the standby follows", lambda: (standby.ask("select sum(credited)::int8 from loyalty.partitions") or 0) > 500, 60)
        standby.stop()
        known = credited(home)
        wait_for("more is committed", lambda: credited(home) > known + 5 * RATE, 60)
        wait_for("and relayed", lambda: home.query("select min(relayed_upto) > 0 from loyalty.partitions")[0][0], 60)
        lost = credited(home)
        primary.stop(signal.SIGQUIT)
        standby.start()
        stale = standby.ask("select sum(credited)::int8 from loyalty.partitions")
        standby.ask("select pg_promote()")
        switch.lead_to(standby)
        assert producing.poll() is None, "the run is over before the failover: make it longer"
        wait_for("credits go on", lambda: credited(home) > lost, 60)
        _, errors = producing.communicate(timeout=240)
        assert producing.returncode == 0, errors
        home.lens("wait", "--timeout", "240")
    finally:
        producing.kill()
    assert stale < lost - RATE, f"the standby did not lag: {stale} of {lost}"
    print(f"{lost - stale} of {lost} committed events were lost with the primary, and came again")
    assert "event=doubt" in home.log("accrue")
    compare(home, figures.Truth(tmp_path))
    aftermath.standing_is_the_batch(home)
    aftermath.letters_are_the_postings(home)
    assert pids(home) == before, "a process ended"
