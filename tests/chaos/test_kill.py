"""kill -9 of each service and process in mid-run: the same figures, the same customers, nothing for `lens verify` to find, and behind the
ledger the same standing and letters."""

import collections
import subprocess

import pytest

import aftermath
import figures
from stack import BIN, PROCESSES, ROOT, SERVICES, wait_for

SALES, RATE = 16000, 2000


def produce(stack, out):
    """Sales with defects onto the raw topics, for some seconds."""
    return subprocess.Popen([BIN / "lens", "generate", "--topics", "--out", out, "--seed", "5", "--sales", str(SALES), "--rate",
                             str(RATE), "--defects", "3"], env=stack.environment(), cwd=ROOT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def credited(stack):
    return stack.query("select coalesce(sum(credited), 0)::int8 from loyalty.partitions")[0][0]


def kill_and_wait(stack, name):
    wait_for(f"{name} is there to be killed", lambda: stack.service(name)["state"] == "ready", 90)
    stack.wait_restarted(name, stack.kill(name), 90)


def kill_in_mid_run(stack, name, producing, more_than):
    """Kills it while events flow, once so many are credited; waits until it is back."""
    wait_for(f"more than {more_than} events are credited", lambda: credited(stack) > more_than, 120)
    assert producing.poll() is None, "the run is over before the kill: make it longer"
    kill_and_wait(stack, name)


def finish(stack, producing):
    _, errors = producing.communicate(timeout=240)
    assert producing.returncode == 0, errors
    stack.lens("wait", "--timeout", "240")


def compare(stack, truth):
    report = stack.lens("report")
    expected = truth.report()
    assert {name: report[name] for name in expected} == expected
    counted = collections.Counter(code for row in truth.defects for code in row["codes"].split(","))
    assert report["dead_letters_by_code"] == dict(counted)
    assert report["lines_waiting"] == 0
    rows = stack.query("select customer_id, points_earned, points_reversed, points_balance, net_minor, postings"
                       " from loyalty.loyalty_accounts")
    found = {customer_id: tuple(values) for customer_id, *values in rows}
    columns = ("points_earned", "points_reversed", "points_balance", "net_minor", "transactions")
    wanted = {customer_id: tuple(int(row[name]) for name in columns) for customer_id, row in truth.customers.items()}
    assert not figures.first_differences(found, wanted)
    shown = {customer_id: points for customer_id, points in figures.redis_balances(stack).items() if customer_id in wanted}
    assert not figures.first_differences(shown, {customer_id: values[2] for customer_id, values in wanted.items()})
    verify = stack.lens("verify", check=False)
    assert verify["ok"], [check for check in verify["checks"] if check["different"]]


@pytest.mark.parametrize("name", PROCESSES + SERVICES)
def test_one_is_killed_in_mid_run(home, tmp_path, name):
    home.configure(aftermath.CONFIGURATION)
    home.up()
    producing = produce(home, tmp_path)
    try:
        kill_in_mid_run(home, name, producing, SALES // 16)
        finish(home, producing)
    finally:
        producing.kill()
    compare(home, figures.Truth(tmp_path))
    aftermath.standing_is_the_batch(home)
    aftermath.letters_are_the_postings(home)


def test_all_are_killed_in_one_run_of_real_sales(home, tmp_path):
    path = figures.retail_file(tmp_path)
    home.up()
    importing = subprocess.Popen([BIN / "lens", "import", "online_retail", path], env=home.environment(), cwd=ROOT,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for("the first events are credited", lambda: credited(home) > 0, 120)
        for name in SERVICES + PROCESSES:
            kill_and_wait(home, name)
        _, errors = importing.communicate(timeout=240)
        if importing.returncode != 0: # it gave up while Kafka was away: it says so, and goes on where it stopped
            assert errors
            home.lens("import", "online_retail", path)
    finally:
        importing.kill()
    home.lens("wait", "--timeout", "240")
    assert figures.without(home.lens("report")) == figures.RETAIL
    balances = {customer_id: int(row["points_balance"]) for customer_id, row in figures.retail_customers().items()}
    assert not figures.first_differences(figures.redis_balances(home), balances)
    assert home.lens("verify")["ok"]
