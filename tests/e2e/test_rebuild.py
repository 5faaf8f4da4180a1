"""Redis holds nothing that Postgres does not: wiped live, its balances come back by themselves."""

import pathlib
import time

import figures
from raw_events import Till, sale
from stack import wait_for

ACCOUNTS = 200000
BOUND_S = 60  # a loaded machine; measured: see the printed line


def shown(stack) -> int:
    redis = stack.redis()
    return sum(redis.hlen(f"ll:{{r1.p{partition}}}:balance") for partition in range(8))


def metric(stack, name: str) -> float:
    import urllib.request

    with urllib.request.urlopen(f"http://{stack.env()['LENS_ACCRUE_METRICS']}/metrics", timeout=10) as answer:
        return sum(float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines() if line.startswith(name))


def test_a_wiped_redis_comes_back_by_itself(home, tmp_path: pathlib.Path):
    home.up()
    till, now_ms = Till(home), int(time.time() * 1000)
    for at in range(ACCOUNTS):
        till.put(sale(f"T{at}", f"C{at:06d}", 1000 * (1 + at % 97), now_ms))
    till.flush()
    home.lens("wait", "--timeout", "240")
    expected = dict(home.query("select customer_id, points_balance from loyalty.accounts"))
    assert len(expected) == ACCOUNTS and expected["C000096"] == 97
    assert figures.redis_balances(home) == expected
    pids = {name: home.service(name)["pid"] for name in ("accrue", "redis")}
    rebuilds = metric(home, "lens_accrue_redis_rebuilds_total")

    redis = home.redis()
    redis.flushall()
    begun = time.monotonic()
    assert redis.dbsize() < 16, "nothing was wiped"
    wait_for("every balance is back", lambda: shown(home) == ACCOUNTS, BOUND_S, 0.02)
    whole_s = time.monotonic() - begun
    wait_for("every watermark is back", lambda: all(
        redis.hget(f"ll:{{r1.p{p}}}:meta", "next") == str(at) for p, at in home.query(
            "select partition, next_offset from loyalty.partitions")), BOUND_S, 0.05)
    print(f"{ACCOUNTS} accounts: all balances back {whole_s:.2f} s after FLUSHALL, all watermarks after "
          f"{time.monotonic() - begun:.2f} s")
    assert whole_s < BOUND_S
    assert figures.redis_balances(home) == expected
    assert metric(home, "lens_accrue_redis_rebuilds_total") >= rebuilds + 8
    assert {name: home.service(name)["pid"] for name in pids} == pids, "a restart did it"
    verify = home.lens("verify")
    compared = {check["check"]: check["compared"] for check in verify["checks"]}
    assert verify["ok"] and compared["redis"] == ACCOUNTS

    # Sales go on meanwhile: a wipe under load ends in the same balances.
    for at in range(5000):
        till.put(sale(f"U{at}", f"C{at:06d}", 5000, now_ms))
        if at == 2500:
            till.flush()
            redis.flushall()
    till.flush()
    home.lens("wait", "--timeout", "120")
    expected.update({f"C{at:06d}": expected[f"C{at:06d}"] + 5 for at in range(5000)})
    wait_for("every balance is back again", lambda: shown(home) == ACCOUNTS, BOUND_S)
    assert figures.redis_balances(home) == expected
    assert home.lens("verify")["ok"]
