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
    """A second process of a kind, beside the supervised one; started again here when it dies."""

    def __init__(self, stack, kind):
        self.stack, self.kind = stack, kind
        self.process = None
        self.start()

    def start(self):
        log = open(self.stack.home / f"{self.kind}-2.log", "ab")
        self.process = subprocess.Popen([BIN / f"lens-{self.kind}", "--instance", f"{self.kind}-2"], cwd=ROOT,
                                        env=self.stack.environment(), stdout=log, stderr=log)
        log.close()

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(60)
        self.start()


class Chaos:
    def __init__(self, stack, seed):
        self.stack, self.random = stack, random.Random(seed)
        self.twins = {kind: Twin(stack, kind) for kind in ("accrue", "validate")}
        self.recoveries = []

    def fault(self):
        kinds = [self.kill, self.kill, self.kill, self.restart, self.twin, self.twin_stops, self.stop, self.flush, self.cut_aof]
        return self.random.choice(kinds)()

    def kill(self):
        name = self.random.choice([*PROCESSES, *SERVICES])
        pid = self.stack.kill(name)
        self.stack.wait_restarted(name, pid, 120)
        return f"kill -9 {name}"

    def restart(self):
        name = self.random.choice([*PROCESSES, *SERVICES])
        pid = self.stack.service(name)["pid"]
        os.kill(pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
        self.stack.wait_restarted(name, pid, 120)
        return f"restart {name}"

    def twin(self):
        kind = self.random.choice(["accrue", "validate"])
        number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        self.twins[kind].end(number)
        return f"{number.name} the second {kind}"

    def pause(self, pid, name):
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(SESSION_S + self.random.random() * 3)
        finally:
            os.kill(pid, signal.SIGCONT)
        return f"stop {name} past its session"

    def stop(self):
        name = self.random.choice(PROCESSES)
        return self.pause(self.stack.service(name)["pid"], name)

    def twin_stops(self):
        kind = self.random.choice(["accrue", "validate"])
        words = self.pause(self.twins[kind].process.pid, f"the second {kind}")
        if self.twins[kind].process.poll() is not None: # fenced meanwhile: its supervisor would start it again
            self.twins[kind].start()
        return words

    def flush(self):
        self.stack.redis().flushall()
        return "FLUSHALL"

    def cut_aof(self):
        """Redis dies, and the end of its log with it."""
        files = sorted((self.stack.home / "redis").rglob("*.incr.aof"))
        pid = self.stack.kill("redis")
        for path in files[-1:]:
            size = path.stat().st_size
            with open(path, "r+b") as log:
                log.truncate(size - min(size // 2, self.random.randrange(1, 20000)))
        self.stack.wait_restarted("redis", pid, 120)
        return "redis loses the end of its log"

    def revive(self):
        for twin in self.twins.values():
            if twin.process.poll() is not None:
                twin.start()

    def one(self):
        begun = time.monotonic()
        before = credited(self.stack)
        words = self.fault()
        self.revive()
        wait_for(f"credits go on after: {words}", lambda: credited(self.stack) > before, 120)
        self.recoveries.append((time.monotonic() - begun, words))
        print(f"{self.recoveries[-1][0]:6.1f} s  {words}", flush=True)

    def close(self):
        for twin in self.twins.values():
            twin.process.terminate()
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
