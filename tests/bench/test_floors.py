"""`lens bench` on this machine: the floors and goals. They hold on two cores with nothing else going on."""

import json
import os
import subprocess

import pytest

from stack import BIN, ROOT


def bench(*words):
    environment = {name: value for name, value in os.environ.items() if name not in ("LENS_HOME", "LENS_CONFIG")}
    done = subprocess.run([BIN / "lens", "--json", "bench", *words], env=environment, cwd=ROOT, text=True, capture_output=True,
                          timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(json.dumps(result, indent=2))
    return result


@pytest.mark.parametrize("name, floor", (("accrue", 230_000), ("line", 100_000)))
def test_events_per_second(name, floor):
    result = bench(name)
    assert result["points_agree"], result["points"]
    assert result["events_per_second"] >= floor, result["cpu_us_per_event"]


def test_ledger_rows_per_second_into_standing():
    result = bench("segment")
    assert result["sums_agree"]
    assert result["rows_per_second"] >= 200_000, result["cpu_us_per_row"]


def test_latency_beside_20000_events_a_second():
    result = bench("latency")
    assert result["events_per_second"] == 20_000
    for way in ("from_valid", "from_raw"):
        assert result[way]["lost"] == 0 and result[way]["probes"] > 500
        assert result[way]["p50_ms"] <= result[way]["goal_p50_ms"], way
        assert result[way]["p99_ms"] <= result[way]["goal_p99_ms"], way
    assert all(mb < 50 for mb in result["rss_mb"].values()), result["rss_mb"]


def test_recovery_from_kill_9():
    result = bench("recovery")
    assert result["kills"] == 5
    assert result["redis_ms"]["max"] < 2000, result
    assert all(ms < 100 for ms in result["start_ms"].values()), result["start_ms"]
