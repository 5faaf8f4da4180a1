"""Kafka, Redis and Postgres each away for a while under load; a full disk, a wrong password, a server that only reads.

Nothing is lost, no process ends, memory stays bounded, `lens status` says what is waited for, and all goes on without hands.
Each is away for LENS_OUTAGE_S (`tests/run outage --seconds N`), two at a time in between.
"""

import collections
import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import threading
import time
import urllib.request

import confluent_kafka
import pytest

import figures
from raw_events import Till, sale
from stack import PROCESSES, wait_for

AWAY_S = float(os.environ.get("LENS_OUTAGE_S", "15"))
RATE = 300
FLUSH_EVENTS = 2000
GROWTH_MB_MAX = 96  # what a process may grow by; librdkafka's queues and one flush are far below
SETTINGS = f"accrue: {{ flush_ms = 200; flush_events = {FLUSH_EVENTS}; batch_events = 200; }};\n"


class Load(threading.Thread):
    """Sales at a steady rate from a till that waits for its broker, one of ten sent twice; knows what must come of them."""

    def __init__(self, stack, seed=7):
        super().__init__(daemon=True)
        self.till, self.random = Till(stack), random.Random(seed)
        self.points, self.sent, self.copies = collections.Counter(), 0, 0
        self.ending, self.error = threading.Event(), None

    def run(self):
        begun = time.monotonic()
        try:
            while not self.ending.is_set():
                while self.sent < (time.monotonic() - begun) * RATE:
                    self.one()
                self.till.producer.poll(0.01)
        except Exception as error:  # noqa: BLE001 - told by finish
            self.error = error

    def one(self):
        customer, amount = f"C{self.random.randrange(500):03d}", self.random.randrange(100, 100000)
        event = sale(f"T{self.sent}", customer, amount, int(time.time() * 1000))
        self.till.put(event)
        if self.random.randrange(10) == 0:
            self.till.put(event)
            self.copies += 1
        self.points[customer] += amount // 1000
        self.sent += 1

    def goes_on(self) -> bool:
        assert self.is_alive(), f"the till has given up: {self.error!r}, {self.till.failed} not taken, {len(self.till.producer)} wait"
        return True

    def finish(self):
        self.ending.set()
        self.join()
        if self.error is not None:
            raise self.error
        self.till.flush()


class Memory(threading.Thread):
    """The largest resident size of each process, read from /proc while the test runs."""

    def __init__(self, pids: dict):
        super().__init__(daemon=True)
        self.pids, self.ending = pids, threading.Event()
        self.first = {name: self.read(pid) for name, pid in pids.items()}
        self.most = dict(self.first)

    @staticmethod
    def read(pid: int) -> float:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))

    def run(self):
        while not self.ending.wait(0.2):
            for name, pid in self.pids.items():
                try:
                    self.most[name] = max(self.most[name], self.read(pid))
                except (OSError, StopIteration):
                    pass  # the test sees that it has ended


def tell(stack, name: str, letter: str) -> None:
    """One letter to runit: d stops the service and leaves it so, u starts it."""
    with open(stack.home / "service" / name / "supervise" / "control", "w", encoding="ascii") as control:
        control.write(letter)


def take_away(stack, name: str) -> None:
    pid = stack.service(name)["pid"]
    tell(stack, name, "d")
    wait_for(f"{name} is away", lambda: not os.path.exists(f"/proc/{pid}"), 60)


def bring_back(stack, name: str) -> None:
    tell(stack, name, "u")


def pids(stack) -> dict:
    services = stack.status()["services"]
    return {name: services[name]["pid"] for name in PROCESSES}


def waits(stack) -> dict:
    return {name: state["waits_for"] for name, state in stack.status()["services"].items()}


def credited(stack) -> int:
    return stack.query("select coalesce(sum(credited + duplicate), 0)::int8 from loyalty.partitions")[0][0]


def metric(stack, process: str, name: str) -> float:
    with urllib.request.urlopen(f"http://{stack.env()[f'LENS_{process.upper()}_METRICS']}/metrics", timeout=10) as answer:
        return sum(float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines() if line.startswith(name))


def all_is_there(stack, load) -> None:
    """Every sale once, everywhere."""
    stack.lens("wait", "--timeout", "300")
    rows = stack.query("select customer_id, points_balance from loyalty.accounts")
    assert not figures.first_differences(dict(rows), dict(load.points))
    wait_for("tills see the same", lambda: figures.redis_balances(stack) == dict(load.points), 120)
    report = stack.lens("report")
    assert report["transactions"] == load.sent and report["duplicates"] == load.copies
    assert stack.lens("verify")["ok"]


# Who waits for what. accrue goes on without Redis, so that it does not stand still; its balances come back with Redis.
WHO = {"kafka": ("validate", "accrue", "relay", "segment", "notify"), "postgres": ("accrue", "relay"), "redis": ("accrue",)}


def said(stack, name: str, away) -> None:
    """Who needs several waits for one of them, says which, and goes on saying it."""
    def ask():
        told = waits(stack)
        told = {process: [store for store in away if store in told[process]] for process in WHO[name]}
        return all(told.values()) and any(name in stores for stores in told.values())

    wait_for(f"`lens status` says that {' and '.join(WHO[name])} wait, and for {name}", ask, max(30.0, AWAY_S), 0.5)
    for _ in range(10):
        told = {process: text for process, text in waits(stack).items() if "does not answer on" not in text}  # asked for 1 s
        assert all(any(store in told.get(process, store) for store in away) for process in WHO[name]), told
        time.sleep(0.1)


def test_each_store_away_under_load(home):
    home.configure(SETTINGS)
    home.up()
    before = pids(home)
    load, memory = Load(home), Memory(before)
    load.start()
    memory.start()
    wait_for("sales are credited", lambda: credited(home) > 1000, 60)
    # Redis; Redis and Postgres; Postgres; Postgres and Kafka; Kafka.
    took = {}
    away_since = {}

    def leave(name):
        take_away(home, name)
        away_since[name] = time.monotonic()
        said(home, name, away_since.keys() - took.keys())

    def come(name):
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - away_since[name])))
        took[name] = time.monotonic() - away_since[name]
        bring_back(home, name)

    leave("redis")
    time.sleep(AWAY_S / 2)
    leave("postgres")
    come("redis")
    unflushed = metric(home, "accrue", "lens_accrue_unflushed")
    leave("kafka")
    come("postgres")
    wait_for("Postgres is back", lambda: credited(home) > 0, 60)
    before_kafka = credited(home)
    come("kafka")
    back = time.monotonic()
    for _ in range(3):  # librdkafka's admin calls died of a coordinator that was just starting
        assert home.run("wait", "--timeout", "2").returncode in (0, 1, 4)
    wait_for("credits go on", lambda: load.goes_on() and credited(home) > before_kafka, 120)
    credited_after = time.monotonic() - back
    wait_for("nobody waits any more", lambda: home.status()["ready"], 120, 0.5)
    load.finish()
    memory.ending.set()
    memory.join()
    all_is_there(home, load)
    take_away(home, "kafka")  # where nothing is to be done, who needs it still says so, and once
    changes = {process: home.log(process).count("event=wait ") for process in PROCESSES}
    said(home, "kafka", {"kafka"})
    bring_back(home, "kafka")
    wait_for("nobody waits any more", lambda: home.status()["ready"], 120, 0.5)
    changes = {process: home.log(process).count("event=wait ") - before for process, before in changes.items()}
    assert max(changes.values()) < 20, changes
    after = pids(home)
    print(f"away {({name: round(s, 1) for name, s in took.items()})} s; {load.sent} sales, {load.copies} twice; credits went on "
          f"{credited_after:.1f} s after the last came back; unflushed at most {unflushed:.0f}; MB before and at most: "
          f"{({name: (round(memory.first[name]), round(memory.most[name])) for name in before})}")
    assert after == before, "a process ended"
    assert unflushed <= 2 * FLUSH_EVENTS + 1000
    assert all(memory.most[name] - memory.first[name] < GROWTH_MB_MAX for name in before), memory.most


def test_a_transactional_producer_that_is_lost_is_replaced(home):
    """Fenced: as fatal for a producer as a transaction whose end the broker, back from an outage, refuses."""
    home.configure(SETTINGS)
    home.up()
    before, load = pids(home), Load(home)
    load.start()
    wait_for("sales are credited", lambda: credited(home) > 200, 60)
    for process in ("validate", "relay"):
        rival = confluent_kafka.Producer({"bootstrap.servers": home.env()["KAFKA_BOOTSTRAP"],
                                          "transactional.id": f"lens-{process}-1"})
        rival.init_transactions(30)
        at = credited(home)
        wait_for(f"credits go on without the first producer of {process}", lambda: load.goes_on() and credited(home) > at + RATE, 60)
        wait_for("the log says it", lambda: "fenced" in home.log(process), 60)
    load.finish()
    all_is_there(home, load)
    assert pids(home) == before, "a process ended"


def says(stack, process: str, *words: str) -> str:
    """Waits until `lens status` says all of these of a process; returns it."""
    def ask():
        told = waits(stack)[process]
        return told if all(word in told for word in words) else None

    return wait_for(f"`lens status` says {words} of {process}", ask, 60, 0.5)


def cut_sessions(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_reload_conf()")
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                       " and backend_type = 'client backend'")


def owned_write(path: pathlib.Path, text: str) -> None:
    """In place: the file stays its owner's."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_a_wrong_password_and_a_server_that_only_reads(home, monkeypatch):
    secret = home.home / "password"
    home.up("--no-processes")  # makes the home
    home.configure(SETTINGS + f'postgres: {{ password_file = "{secret}"; }};\n')
    owned_write(secret, "right\n")
    secret.chmod(0o600)
    home.up()
    before, load = pids(home), Load(home)
    load.start()
    wait_for("sales are credited", lambda: credited(home) > 200, 60)

    # The password: changed on the server, and not here.
    monkeypatch.setenv("PGPASSWORD", "right")
    hba = (home.home / "postgres").resolve() / "data" / "pg_hba.conf"
    connection = home.postgres()
    with connection.cursor() as cursor:
        cursor.execute("alter role lens password 'right'")
    owned_write(secret, "wrong\n")
    owned_write(hba, "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n")
    cut_sessions(connection)
    for process in WHO["postgres"]:
        told = says(home, process, "postgres", "28P01", str(secret))
        assert "wrong" not in told and "right" not in told
    secret.chmod(0o644)
    says(home, "accrue", str(secret), "chmod 600")
    secret.chmod(0o600)
    at = credited(home)
    owned_write(secret, "right\n")
    wait_for("credits go on by themselves", lambda: load.goes_on() and credited(home) > at + RATE, 60)

    # A standby answers, and takes nothing.
    with connection.cursor() as cursor:
        cursor.execute("alter system set default_transaction_read_only = on")
    cut_sessions(connection)
    says(home, "accrue", "postgres", "25006", "standby", "postgres.host")
    at = credited(home)
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = off")
        cursor.execute("alter system reset default_transaction_read_only")
    cut_sessions(connection)
    connection.close()
    wait_for("credits go on by themselves", lambda: load.goes_on() and credited(home) > at + RATE, 60)
    load.finish()
    all_is_there(home, load)
    assert pids(home) == before, "a process ended"


@contextlib.contextmanager
def small_disk(at: pathlib.Path, free_mb: int):
    """What lies in a directory, on a disk of its own with so much left."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    used_mb = int(subprocess.run(["du", "-sm", str(at)], capture_output=True, text=True, check=True).stdout.split()[0])
    owner, aside = at.stat(), at.with_name(at.name + "-aside")
    at.rename(aside)
    at.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used_mb + free_mb}m,mode=700", "tmpfs", str(at)],
                      check=False).returncode != 0:
        pytest.skip("no mounts here")
    os.chown(at, owner.st_uid, owner.st_gid)
    subprocess.run(["cp", "-a", f"{aside}/.", str(at)], check=True)
    shutil.rmtree(aside)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def test_a_full_disk_of_postgres(home):
    home.configure(SETTINGS)
    home.up()
    home.lens("down")
    place = (home.home / "postgres").resolve()
    data = place / "data"
    wal = home.home / "wal"  # on the large disk: a full one under the log would end the server itself
    (data / "pg_wal").rename(wal)
    (data / "pg_wal").symlink_to(wal)
    with small_disk(data, 24):
        home.up()
        before, load = pids(home), Load(home)
        load.start()
        wait_for("sales are credited", lambda: credited(home) > 200, 60)
        ballast = data / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        told = says(home, "accrue", "postgres", "53100", "make room")
        assert "No space left on device" in told
        at = credited(home)
        time.sleep(3)
        ballast.unlink()
        wait_for("credits go on by themselves", lambda: load.goes_on() and credited(home) > at + RATE, 90)
        load.finish()
        all_is_there(home, load)
        assert pids(home) == before, "a process ended"
        home.lens("down")


def test_a_full_disk_of_postgres_log(home):
    """Where the write-ahead log has no room Postgres ends itself; it is started again until there is."""
    home.configure(SETTINGS)
    home.up()
    home.lens("down")
    wal = (home.home / "postgres").resolve() / "data" / "pg_wal"
    with small_disk(wal, 32):
        home.up()
        before, load = pids(home), Load(home)
        load.start()
        wait_for("sales are credited", lambda: credited(home) > 200, 60)
        at = credited(home)
        ballast = wal / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        for process in ("accrue", "relay", "segment", "notify"):
            says(home, process, "postgres ")

        def told():
            state = home.service("postgres")
            words = "FATAL", "pg_wal", "No space left on device", "make room"
            return state["restarts"] >= 2 and state["state"] == "restarting" and all(word in state["waits_for"] for word in words)

        wait_for("`lens status` says why Postgres does not stay up", told, 60, 0.3)
        begun = time.monotonic()
        ballast.unlink()
        wait_for("credits go on by themselves", lambda: load.goes_on() and credited(home) > at + RATE, 90)
        print(f"credits went on {time.monotonic() - begun:.1f} s after there was room")
        load.finish()
        all_is_there(home, load)
        assert pids(home) == before, "a process ended"
        home.lens("down")
