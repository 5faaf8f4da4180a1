"""One private stack: runs `lens` on a home of its own and waits for what it says."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LENS_BIN", ROOT / "build" / "bin"))
DATA = pathlib.Path(os.environ.get("LENS_DATA", ROOT.parent / "shared" / "data"))

SERVICES = ("redis", "postgres", "kafka")
PROCESSES = ("validate", "accrue", "relay", "segment", "notify")
_REPORT = re.compile(r"ERROR: [A-Z][A-Za-z]*Sanitizer|runtime error:|event=crashed")


class LensError(AssertionError):
    """`lens` ended with another exit code than 0."""


def wait_for(what: str, ask, timeout_s: float = 60.0, pause_s: float = 0.05):
    """Asks until the answer is true, and returns it. An exception is an answer too: not yet."""
    until = time.monotonic() + timeout_s
    last = None
    while time.monotonic() < until:
        try:
            last = ask()
            if last:
                return last
        except Exception as error:  # noqa: BLE001 - services come and go here
            last = error
        time.sleep(pause_s)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last answer: {last!r}")


class Stack:
    def __init__(self, home: pathlib.Path):
        self.home = home

    def environment(self) -> dict:
        drop = ("LENS_CONFIG", "LENS_STACK", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE")
        kept = {name: value for name, value in os.environ.items() if name not in drop}
        return {**kept, "LENS_HOME": str(self.home)}

    def run(self, *args: str, timeout_s: float = 300) -> subprocess.CompletedProcess:
        """`lens ARGS`, whatever comes."""
        return subprocess.run([str(BIN / "lens"), *map(str, args)], env=self.environment(), cwd=ROOT, text=True,
                              capture_output=True, timeout=timeout_s, check=False)

    def lens(self, *args: str, check: bool = True, timeout_s: float = 300):
        """`lens --json ARGS`, parsed; None where it printed nothing."""
        done = self.run("--json", *args, timeout_s=timeout_s)
        if check and done.returncode != 0:
            raise LensError(f"lens {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}{done.stdout}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def up(self, *args: str):
        return self.lens("up", *args)

    def status(self) -> dict:
        return self.lens("status", check=False)

    def ready(self) -> dict:
        """What `lens status` says, which must be that all is ready, now. Only who was not heard within its second is asked again."""
        for _ in range(10):
            state = self.status()
            late = [row for row in state["services"].values() if "does not answer on" in row["waits_for"]]
            if not late:
                break
        assert state["ready"], {name: row for name, row in state["services"].items() if row["state"] != "ready"}
        return state

    def service(self, name: str) -> dict:
        return self.status()["services"][name]

    def env(self) -> dict:
        return self.lens("env")

    def configure(self, text: str) -> None:
        """The home's own lens.conf."""
        (self.home / "lens.conf").write_text(text)

    def log(self, name: str) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted((self.home / "log" / name).glob("*"))
                       if path.name == "current" or path.name.startswith("@"))

    def kill(self, name: str) -> int:
        """kill -9 of one service or process; returns the pid that was."""
        pid = self.service(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, old_pid: int, timeout_s: float = 60) -> dict:
        def ask():
            state = self.service(name)
            return state if state["pid"] not in (None, old_pid) and state["state"] == "ready" else None

        return wait_for(f"{name} is back after kill -9", ask, timeout_s)

    def pids(self) -> dict:
        """Every process that belongs to this home: pid -> command line."""
        mark = f"LENS_STACK={self.home}".encode()
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def postgres(self):
        """A connection, in autocommit."""
        import psycopg2

        env = self.env()
        connection = psycopg2.connect(host=env["PGHOST"], port=env["PGPORT"], user=env["PGUSER"], dbname=env["PGDATABASE"])
        connection.autocommit = True
        return connection

    def query(self, sql: str, *params):
        connection = self.postgres()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def redis(self):
        import redis

        env = self.env()
        return redis.Redis(host=env["REDIS_HOST"], port=int(env["REDIS_PORT"]), decode_responses=True)

    def describe(self, lines: int = 12) -> str:
        """What runs, what it waits for, and the last that each log warned of."""
        try:
            said = [self.run("status", timeout_s=60).stdout]
        except subprocess.TimeoutExpired:
            said = ["lens status does not answer"]
        for name in PROCESSES:
            warnings = [line[:300] for line in self.log(name).splitlines()
                        if " level=info " not in line and " event=kafka_client " not in line]
            said += [f"-- {name}:", *warnings[-lines:]]
        return "\n".join(said)

    def crash_reports(self) -> list[str]:
        """What a sanitizer or the supervisor wrote into a log: the service, and the lines around."""
        logs = self.home / "log"
        found = []
        for path in sorted(logs.rglob("*")) if logs.is_dir() else []:
            if path.is_file():
                text = path.read_text(errors="replace")
                match = _REPORT.search(text)
                if match:
                    found.append(f"{path.parent.name}: {text[max(0, match.start() - 1000):match.start() + 3000]}")
        return found
