"""Faults at random moments under a steady load, from a seed: kills, stops past the session time-out, restarts, a Redis that forgets.

Two accrue and two validate processes share the partitions. When the input is used up, `lens verify` must find nothing, the totals
must be the generator's truth, the standing what the batch makes of the ledger, and every posting must have its letter, once. LENS_CHAOS_FAULTS and LENS_CHAOS_SEED (or `tests/run chaos --faults N --seed S`) choose the run.
"""

import os
import pathlib
import random
import signal
import statistics
import subprocess
import time

import aftermath
import figures
from stack import BIN, PROCESSES, ROOT, SERVICES, wait_for
from test_kill import compare, credited
from test_outages import tell

FAULTS = int(os.environ.get("LENS_CHAOS_FAULTS", "25"))
SEED = int(os.environ.get("LENS_CHAOS_SEED", "1"))
RATE = 300
SECONDS_PER_FAULT = 9
SESSION_S = 6
# Letters although the sales lie in the past.
CONFIGURATION = aftermath.CONFIGURATION + f"""
kafka: {{ session_timeout_ms = {SESSION_S * 1000}; }};
notify: {{ age_ms = 3153600000000L; delay_ms = 0; quiet_from_hour = 0; quiet_to_hour = 0; rate = 100000; }};
"""


class Twin:
    """A second process of a kind, beside the supervised one. One that ends by itself has failed, but for one that was stopped past
    its session: its name has been given to nobody, and still it may find itself fenced, which ends a process."""

    def __init__(self, stack, kind):
        self.stack, self.kind, self.name = stack, kind, f"{kind}-2"
        self.log_path = stack.home / "log" / self.name / "current"  # where the crash reports are looked for
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.process, self.log_from, self.was_stopped = None, 0, False
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.log_from, self.was_stopped = log.tell(), False
            self.process = subprocess.Popen([BIN / f"lens-{self.kind}", "--instance", self.name], cwd=ROOT,
                                            env=self.stack.environment(), stdout=log, stderr=log)

    def log(self) -> str:
        """Of the process that runs now, or ran last."""
        return self.log_path.read_bytes()[self.log_from:].decode(errors="replace")

    def end(self, number):
        self.still_runs()
        self.process.send_signal(number)
        code = self.process.wait(60)
        # TERM before it is told what to do with it ends it, too.
        assert code in ((0, -number) if number == signal.SIGTERM else (-number,)), f"{self.name}: exit {code}\n{self.log()[-3000:]}"

    def still_runs(self):
        """Started again after an end that the test has caused; any other is a failure."""
        code = self.process.poll()
        if code is None:
            return
        fenced = self.was_stopped and code == 1 and "FENCED_INSTANCE_ID" in self.log()
        assert fenced, f"{self.name} ended by itself: exit {code}\n{self.log()[-3000:]}"
        self.start()


class Chaos:
    def __init__(self, stack, seed):
        self.stack, self.random = stack, random.Random(seed)
        self.twins = {kind: Twin(stack, kind) for kind in ("accrue", "validate")}
        self.recoveries = []

    def fault(self):
        kinds = [self.kill, self.kill, self.kill, self.restart, self.twin, self.twin_stops, self.stop, self.flush, self.cut_aof]
        return self.random.choice(kinds)()

    def send(self, name, number) -> int:
        """To the process that runs now; returns its pid. One that is just being started again is waited for."""
        def ask():
            pid = self.stack.service(name)["pid"]
            os.kill(pid, number)  # None and a pid that is gone: not yet
            return pid

        return wait_for(f"{name} runs", ask)

    def kill(self):
        name = self.random.choice([*PROCESSES, *SERVICES])
        pid = self.send(name, signal.SIGKILL)
        self.stack.wait_restarted(name, pid, 120)
        return f"kill -9 {name}"

    def restart(self):
        name = self.random.choice([*PROCESSES, *SERVICES])
        pid = self.send(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)
        self.stack.wait_restarted(name, pid, 120)
        return f"restart {name}"

    def twin(self):
        kind = self.random.choice(["accrue", "validate"])
        number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        self.twins[kind].end(number)
        self.twins[kind].start()
        return f"{number.name} the second {kind}"

    def pause(self, pid, name):
        """Of one that has been stopped."""
        try:
            time.sleep(SESSION_S + self.random.random() * 3)
        finally:
            os.kill(pid, signal.SIGCONT)
        return f"stop {name} past its session"

    def stop(self):
        name = self.random.choice(PROCESSES)
        return self.pause(self.send(name, signal.SIGSTOP), name)

    def twin_stops(self):
        kind = self.random.choice(["accrue", "validate"])
        twin = self.twins[kind]
        twin.still_runs()
        twin.process.send_signal(signal.SIGSTOP)
        twin.was_stopped = True
        return self.pause(twin.process.pid, f"the second {kind}")

    def flush(self):
        self.stack.redis().flushall()
        return "FLUSHALL"

    def cut_aof(self):
        """Redis dies, and the end of its log with it: its supervisor starts it again once that is cut, and no sooner."""
        folder = self.stack.home / "service" / "redis" / "supervise"
        tell(self.stack, "redis", "o")
        wait_for("the supervisor knows it", lambda: "want down" in (folder / "stat").read_text())
        pid = self.send("redis", signal.SIGKILL)
        wait_for("redis is dead", lambda: (folder / "stat").read_text().startswith("down"))
        files = sorted((self.stack.home / "redis").rglob("*.incr.aof"))
        for path in files[-1:]:
            size = path.stat().st_size
            with open(path, "r+b") as log:
                log.truncate(size - min(size // 2, self.random.randrange(1, 20000)))
        tell(self.stack, "redis", "u")
        self.stack.wait_restarted("redis", pid, 120)
        return "redis loses the end of its log"

    def revive(self):
        for twin in self.twins.values():
            twin.still_runs()

    def one(self):
        begun = time.monotonic()
        before = credited(self.stack)
        words = self.fault()
        self.revive()
        wait_for(f"credits go on after: {words}", lambda: credited(self.stack) > before, 120)
        self.recoveries.append((time.monotonic() - begun, words))
        print(f"{self.recoveries[-1][0]:6.1f} s  {words}", flush=True)

    def close(self):
        try:
            for twin in self.twins.values():
                twin.end(signal.SIGTERM)
        finally:
            for twin in self.twins.values():
                twin.process.kill()
                twin.process.wait(60)


def test_faults_from_a_seed(home, tmp_path: pathlib.Path):
    home.configure(CONFIGURATION)
    home.up()
    chaos = Chaos(home, SEED)
    sales = FAULTS * SECONDS_PER_FAULT * RATE
    producing = subprocess.Popen([BIN / "lens", "generate", "--topics", "--out", tmp_path, "--seed", str(SEED), "--sales", str(sales),
                                  "--rate", str(RATE), "--defects", "3"], env=home.environment(), cwd=ROOT,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for("the first events are credited", lambda: credited(home) > 0, 120)
        while len(chaos.recoveries) < FAULTS and producing.poll() is None:
            chaos.one()
            time.sleep(chaos.random.random() * 2)
        _, errors = producing.communicate(timeout=600)
        assert producing.returncode == 0, errors
        chaos.revive()
        home.lens("wait", "--timeout", "300")
    finally:
        producing.kill()
        chaos.close()
    times = [seconds for seconds, _ in chaos.recoveries]
    print(f"seed {SEED}: {len(times)} faults, {sales} sales; credits went on after {statistics.median(times):.1f} s (median), "
          f"{max(times):.1f} s (worst: {max(chaos.recoveries)[1]})")
    assert len(times) == FAULTS, "the input was used up before the faults"
    compare(home, figures.Truth(tmp_path))
    aftermath.standing_is_the_batch(home)
    aftermath.letters_are_the_postings(home)
