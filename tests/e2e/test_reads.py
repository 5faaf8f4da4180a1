"""The nouns that read: exit codes, JSON, and bytes of others that must do nothing to a terminal."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from raw_events import Till, encode, sale
from fresh import stack  # noqa: F401 - a fixture
from stack import BIN, ROOT, wait_for

READS = (["report"], ["customer", "C1"], ["ledger", "C1"], ["dlq", "list"], ["dlq", "stats"], ["verify"], ["wait", "--timeout", "2"])


def producer(stack):
    from confluent_kafka import Producer

    return Producer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"]})


@pytest.mark.parametrize("words", (
    ["wait", "--timeout", "soon"], ["wait", "now"], ["report", "--top", "-1"], ["report", "yesterday"], ["customer"],
    ["customer", "a", "b"], ["ledger"], ["ledger", "a", "--limit", "0"], ["dlq", "show"], ["dlq", "show", "transactions/0/1"],
    ["dlq", "redrive"], ["dlq", "list", "--code", "NO_SUCH_CODE"], ["dlq", "list", "--topic", "none"],
    ["dlq", "list", "--since", "yesterday"], ["verify", "all"], ["bench"], ["bench", "sound"], ["bench", "accrue", "--events", "many"],
), ids=" ".join)
def test_wrong_words_are_usage(stack, words):
    done = stack.run(*words)
    assert done.returncode == 2 and done.stdout == "" and "usage: lens" in done.stderr or "unrecognized" in done.stderr


def test_what_is_not_there_is_said(stack):
    for words, next_command in ((["customer", "nobody"], "lens dlq list"), (["ledger", "nothing"], "lens dlq list"),
                                (["dlq", "show", "dead-letter/0/99999"], "lens dlq list"),
                                (["dlq", "show", "accrue/0/99999/0"], "lens dlq list")):
        done = stack.run(*words)
        assert done.returncode == 1 and next_command in done.stderr and done.stdout == ""


HOSTILE = b"\x00\x00\x00\x00\x01\x1b]0;owned\x07\x1b[2J\xff\xfe\x00\r\nforged line\x9b31m"


def test_a_hostile_record_is_shown_and_does_nothing(stack):
    kafka = producer(stack)
    kafka.produce("transactions", key=b"\x1b[31mkey", value=HOSTILE, partition=0,
                  headers=[("till\x1b[1m", b"\x1b[5mblink\n"), ("empty", None)])
    assert kafka.flush(30) == 0
    stack.lens("wait", "--timeout", "120")
    letters = wait_for("the letter", lambda: stack.lens("dlq", "list", "--stage", "validate")["letters"])
    shown = stack.lens("dlq", "show", letters[0]["ref"])
    assert bytes.fromhex(shown["value_hex"]) == HOSTILE
    assert {"name": "till\\x1b[1m", "value": "\\x1b[5mblink\\x0a"} in shown["headers"]
    assert shown["codes"] and all(code["meaning"] and code["next"] for code in shown["codes"])
    assert shown["event"] is None
    for words in (["dlq", "show", letters[0]["ref"]], ["dlq", "list"], ["dlq", "stats"]):
        done = stack.run(*words)
        assert done.returncode == 0
        assert not [c for c in done.stdout if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160], words
    report = stack.lens("report")
    assert report["lines_bad"] == report["lines_read"] == 1 and sum(report["dead_letters_by_code"].values()) >= 1


def test_filters_of_dead_letters(stack):
    everything = stack.lens("dlq", "list")["found"]
    assert everything >= 1
    assert stack.lens("dlq", "list", "--since", "1h")["found"] == everything
    assert stack.lens("dlq", "list", "--stage", "accrue")["found"] == 0
    assert stack.lens("dlq", "list", "--topic", "customers")["found"] == 0
    assert stack.lens("dlq", "list", "--code", "ORPHAN_RETURN")["found"] == 0
    assert stack.lens("dlq", "stats")["by_stage"]["validate"]["letters"] == everything


def test_wait_names_what_is_behind(stack, tmp_path):
    pid = stack.service("accrue")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        stack.lens("generate", "--topics", "--out", tmp_path, "--sales", "300", "--customers", "50", "--defects", "0")
        done = stack.run("--json", "wait", "--timeout", "20")
        assert done.returncode == 1 and "accrue" in done.stderr and "transactions.valid" in done.stderr
        answer = json.loads(done.stdout)
        assert not answer["done"] and answer["behind"][0]["process"] == "accrue" and answer["behind"][0]["records"] > 0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert stack.lens("wait", "--timeout", "120")["done"]
    assert stack.lens("verify")["ok"]


def test_wait_does_not_pass_what_a_transaction_still_hides(stack):
    """A commit is answered before all partitions show it: what was written is waited for, seen or not."""
    from confluent_kafka import Producer

    stack.lens("wait", "--timeout", "120")
    kafka = Producer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "transactional.id": "till-7"})
    kafka.init_transactions(30)
    kafka.begin_transaction()
    kafka.produce("transactions", key=b"C1", value=b"no event", partition=0)
    assert kafka.flush(30) == 0
    assert stack.run("wait", "--timeout", "3").returncode == 1
    kafka.commit_transaction(30)
    stack.lens("wait", "--timeout", "120")


def test_a_partition_that_was_paused_is_named_and_goes_on_by_command(stack):
    """Most of a partition is refused: it stops. Whoever waits is told for what, and `lens resume` lets the rest be refused too."""
    kafka = producer(stack)
    stack.lens("wait", "--timeout", "120")
    before = stack.lens("dlq", "list", "--stage", "validate")["found"]
    for number in range(200):
        kafka.produce("transactions", key=b"C1", value=b"no event %d" % number, partition=5)
    assert kafka.flush(30) == 0
    wait_for("validate waits", lambda: "transactions/5" in stack.service("validate")["waits_for"])
    done = stack.run("--json", "wait", "--timeout", "2")
    assert json.loads(done.stdout)["behind"][0]["waits_for"].startswith("an operator: transactions/5")
    assert done.returncode == 1 and ": an operator: transactions/5" in done.stderr and "lens resume" in done.stderr
    assert before + 50 <= stack.lens("dlq", "list", "--stage", "validate")["found"] < before + 200
    assert stack.run("resume", "transactions/5").returncode == 0
    stack.lens("wait", "--timeout", "60")
    assert stack.lens("dlq", "list", "--stage", "validate")["found"] == before + 200
    assert stack.service("validate")["state"] == "ready"


def test_while_a_partition_of_references_is_paused_nobody_is_unknown(stack):
    """Half an hour after the nonsense, as after a moment: what lies behind it in the raw topic may be the customer."""
    till, now_ms = Till(stack), time.time_ns() // 1_000_000
    long_ago = {"effective_from": now_ms - 86_400_000, "source": "pos", "source_ref": ""}
    till.put_bytes("products", b"P1", encode("product", {
        "product_id": "P1", "name": None, "category": None, "brand": None, "unit_price": None, "active": True, **long_ago}))
    till.put_bytes("stores", b"S1", encode("store", {
        "store_id": "S1", "name": None, "city": None, "opened_day": None, "closed_day": None, **long_ago}))
    till.flush()
    stack.lens("wait", "--timeout", "120")
    for number in range(200):
        till.put_bytes("customers", b"LATE-1", b"no customer %d" % number)
    till.flush()
    paused = wait_for("validate waits", lambda: re.search(r"customers/\d+", stack.service("validate")["waits_for"]))[0]
    till.put_bytes("customers", b"LATE-1", encode("customer", {
        "customer_id": "LATE-1", "name": None, "email": None, "phone": None, "language": None,
        "country": None, "consent_marketing": False, "mailable": False, "erased": False, **long_ago}))
    till.put(sale("LATE-SALE-1", "LATE-1", 1000, now_ms, source="pos", store_id="S1"))
    till.flush()
    until = time.monotonic() + 25  # grace_ms, and as long again
    while time.monotonic() < until:
        assert stack.lens("dlq", "list", "--code", "CUSTOMER_UNKNOWN", "--since", "1h")["found"] == 0
        time.sleep(1)
    assert stack.run("resume", paused).returncode == 0
    stack.lens("wait", "--timeout", "60")
    assert stack.query("select count(*) from loyalty.postings where transaction_id = 'LATE-SALE-1'") == [(1,)]


def test_a_ledger_row_says_why(stack):
    rows = stack.query("select customer_id from loyalty.loyalty_ledger where points > 0 order by points desc limit 1")
    ledger = stack.lens("ledger", rows[0][0])
    assert ledger["kind"] == "customer"
    for row in ledger["rows"]:
        assert row["points"] == sum(rule["points"] for rule in row["rules"])
        assert row["net_minor"] == sum(line["net_minor"] for line in row["lines"])
        assert row["raw_topic"] == "transactions" and row["raw_offset"] >= 0
    one = stack.lens("ledger", ledger["rows"][0]["transaction_id"])
    assert one["kind"] == "transaction" and one["rows"]
    customer = stack.lens("customer", rows[0][0])
    assert customer["points_balance"] == customer["points_earned"] - customer["points_reversed"]
    assert customer["stores_agree"] and customer["points_spendable"] == max(0, customer["points_balance"])


def test_config_is_the_table_of_settings(stack):
    config = stack.lens("config")
    assert config["home"] == str(stack.home) and config["settings"]["accrue.flush_ms"]["unit"]
    defaults = stack.run("config", "--defaults")
    assert defaults.returncode == 0 and "flush_ms" in defaults.stdout


def test_bench_measures_and_leaves_nothing(stack):
    environment = {name: value for name, value in stack.environment().items() if name != "LENS_HOME"}
    done = subprocess.run([BIN / "lens", "--json", "bench", "accrue", "--events", "20000", "--customers", "3000"], cwd=ROOT,
                          env={**environment, "TMPDIR": "/tmp"}, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["events"] == 20000 and result["events_per_second"] > 0
    assert {"accrue", "kafka", "redis", "postgres", "total"} <= set(result["cpu_us_per_event"])
    assert {"accrue", "kafka", "redis", "postgres"} <= set(result["rss_mb"])
    assert result["points_agree"] and len(set(result["points"].values())) == 1
    home = re.search(r"/tmp/lens-bench-\w+", done.stderr).group()
    assert not pathlib.Path(home).exists()


def test_services_that_are_away_are_named(home):
    home.up("--no-processes")
    home.lens("down")
    for words in READS:
        done = home.run(*words)
        assert done.returncode == 4, (words, done.stderr)
        assert done.stdout == "" and any(name in done.stderr for name in ("kafka 127.0.0.1:", "redis ", "postgres ")), words
