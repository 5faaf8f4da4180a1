"""lens-segment on the real line: the known figures, the batch's own numbers, each change on the topic once and in order, and the
same changes again from the same ledger, whatever is killed meanwhile."""

import collections
import csv
import gzip
import json
import os
import random
import struct
import subprocess
import time

import pytest

import figures
import ledger_topic
from fresh import fresh_stack
from stack import BIN, DATA, ROOT, wait_for

# Small batches and little room, so that a kill meets a commit under way and partitions wait for each other.
CONFIGURATION = """
validate: { tick_ms = 500; };
relay: { tick_ms = 500; };
segment: { clock = "event"; flush_rows = 150; flush_ms = 20; ahead_records = 40; quiet_ms = 1500; };
"""
LAST_DAY = "2011-02-28"
ROWS = 4550  # of the ledger, with all of its work done
TABLES = "owner, partitions, customer_standing, thresholds, categories, changes"
BATCH = ("points_balance", "recency_days", "frequency", "monetary_minor", "recency_score", "frequency_score", "monetary_score", "rfm",
         "high_spender", "at_risk", "tier_points", "tier", "clv", "clv_trajectory_milli", "clv_engagement_milli", "clv_breadth_milli",
         "clv_points_milli")
STREAM = ("points_balance", "recency_days", "frequency", "monetary_minor", "r", "f", "m", "coalesce(nullif(rfm_segment, ''), 'NONE')",
          "high_spender", "at_risk", "tier_points", "tier", "clv_potential", "clv_trajectory", "clv_engagement", "clv_breadth",
          "clv_points")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    path = figures.retail_file(tmp_path_factory.mktemp("retail"))
    with fresh_stack(CONFIGURATION) as one:
        one.lens("import", "online_retail", path)
        kill_while_working(one, 5)
        one.lens("wait", "--timeout", "240")
        one.lens("segments", "wait", "--timeout", "120")
        yield one


def kill_while_working(stack, times: int) -> list:
    """kill -9 at any moment of its work; how many rows were in each time. The first two come once it has done more of it since its
    start, so that a slow machine is killed at work too; the others at random."""
    dice, reached, connection = random.Random(times), [0], stack.postgres()

    def rows() -> int:
        with connection.cursor() as cursor:
            cursor.execute("select coalesce(sum(rows), 0)::int8 from segments.partitions")
            return cursor.fetchone()[0]

    def kill() -> int:
        pid = stack.service("segment")["pid"]
        os.kill(pid, 9)
        return pid

    for number in range(times):
        if number < 2:
            wait_for("more of the work is done", lambda: rows() > reached[-1] or rows() == ROWS, 120, 0.005)
        else:
            wait_for("segment runs", lambda: stack.service("segment")["pid"])
            time.sleep(dice.random() * 0.6)
        pid = wait_for("segment is killed", kill)
        reached.append(rows())
        wait_for("it is back", lambda pid=pid: stack.service("segment")["pid"] not in (None, pid))
    connection.close()
    return reached[1:]


def changes(stack) -> dict:
    """By id, but for change_no, which counts in the order in which partitions came."""
    rows = stack.query("select change_id, customer_id, segment, kind, reason, sequence, effective_at, as_of_day, threshold_version,"
                       " recency_days, frequency, monetary_minor, r, f, m, rfm_segment, points_balance, tier, clv_potential"
                       " from segments.changes where run_id = 1")
    found = {row[0]: row[1:] for row in rows}
    assert len(found) == len(rows), "a change_id names one change"
    return found


def thresholds(stack) -> list:
    return stack.query("select version, day, offsets, customers, rated, base, k, threshold_minor, members, r_cuts, f_cuts, m_cuts,"
                       " median_balance from segments.thresholds where run_id = 1 order by version")


def test_the_known_figures_come_out(stack):
    found = stack.lens("segments")
    assert found["as_of"] == LAST_DAY and found["closed"]
    assert (found["thresholds"]["base"], found["thresholds"]["k"], found["thresholds"]["threshold_minor"]) == (1672, 168, 162812)
    assert found["segments"]["HIGH_SPENDER"]["members"] == found["thresholds"]["members"] == 168
    assert found["segments"]["AT_RISK"]["members"] == 868
    assert sum(found["segments"][f"TIER_{tier}"]["members"] for tier in ("BRONZE", "SILVER", "GOLD")) == 1749
    standing = {row[0]: row[1:] for row in stack.query(
        "select customer_id, points_balance, recency_days, frequency, monetary_minor, high_spender::int, at_risk::int"
        " from segments.customer_standing where run_id = 1")}
    with gzip.open(DATA / "online_retail" / "expected_customers.csv.gz", "rt") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == len(standing)
    names = ("points_balance", "days_since_last_purchase", "frequency_12m", "monetary_12m_pence", "high_spender", "at_risk")
    for row in expected:
        want = tuple(int(row[name]) if row[name] else None for name in names)
        assert standing[row["customer_id"]] == want, row["customer_id"]


def test_the_stream_says_what_the_batch_says_of_every_customer(stack):
    stream = {row[0]: row[1:] for row in stack.query(f"select customer_id, {', '.join(STREAM)} from segments.customer_standing")}
    batch = {row[0]: row[1:] for row in stack.query(f"select customer_id, {', '.join(BATCH)} from segments.batch_standing(%s)", LAST_DAY)}
    assert len(stream) == 1749
    different = {key: (stream.get(key), batch.get(key)) for key in stream.keys() | batch.keys() if stream.get(key) != batch.get(key)}
    assert not different


@pytest.mark.parametrize("day", ["2010-12-01", "2010-12-31", "2011-01-01", "2011-01-15", "2011-02-14", LAST_DAY])
def test_membership_of_a_day_is_the_batchs(stack, day):
    [(offsets,)] = stack.query("select offsets from segments.thresholds where day = %s order by version desc limit 1", day)
    stream = {}
    for customer_id, segment in stack.query("select customer_id, segment from segments.members(1, %s)", day):
        stream.setdefault(customer_id, set()).add(segment)
    batch = {}
    for customer_id, rfm, high, risk, tier in stack.query(
            "select customer_id, rfm, high_spender, at_risk, tier from segments.batch_standing(%s, 1, %s::int8[])", day, offsets):
        batch[customer_id] = {f"TIER_{tier}"} | ({f"RFM_{rfm}"} if rfm != "NONE" else set())
        batch[customer_id] |= ({"HIGH_SPENDER"} if high else set()) | ({"AT_RISK"} if risk else set())
    assert stream == batch and stream


def test_thresholds_of_every_tenth_day_are_the_batchs(stack):
    for _, day, offsets, customers, rated, base, k, threshold, _, r_cuts, f_cuts, m_cuts, median in thresholds(stack)[::10]:
        [found] = stack.query("select customers, rated, base, k, threshold_minor, recency_cuts, frequency_cuts, monetary_cuts,"
                              " median_balance from segments.batch_thresholds(%s, 1, %s::int8[])", day, offsets)
        assert found == (customers, rated, base, k, threshold, r_cuts, f_cuts, m_cuts, median), day


def test_redis_holds_the_ranks_and_gets_them_again(stack):
    def live():
        found = stack.lens("segments")
        return found["live"] == {"base": found["thresholds"]["base"], "threshold_minor": found["thresholds"]["threshold_minor"]}

    wait_for("the ranks are those of the closed day", live)
    redis = stack.redis()
    ranks = {member: int(score) for member, score in redis.zscan_iter("ll:{r1.segments}:monetary", count=1000)}
    assert ranks == dict(stack.query("select customer_id, monetary_minor from segments.customer_standing where monetary_minor > 0"))
    redis.delete("ll:{r1.segments}:monetary", "ll:{r1.segments}:mark")
    wait_for("the ranks are there again", live)
    assert len(ranks) == redis.zcard("ll:{r1.segments}:monetary")


def test_reasons_are_what_happened(stack):
    counted = dict(((segment, kind, reason), n) for segment, kind, reason, n in stack.query(
        "select segment, kind, reason, count(*) from segments.changes group by 1, 2, 3"))
    assert counted["HIGH_SPENDER", "EXITED", "THRESHOLD"] > 10, "others' purchases push some out"
    assert counted["HIGH_SPENDER", "ENTERED", "PURCHASE"] > 10
    assert counted["AT_RISK", "ENTERED", "TIME"] > 800, "by a timer, not by an event"
    assert counted["AT_RISK", "EXITED", "PURCHASE"] > 10
    assert counted["TIER_BRONZE", "ENTERED", "PURCHASE"] > 1000
    assert ("AT_RISK", "EXITED", "TIME") not in counted
    # nobody enters twice or leaves twice
    assert stack.query("select count(*) from (select kind, lag(kind) over (partition by customer_id, segment order by sequence) as was"
                       " from segments.changes) as c where kind = was or (was is null and kind = 'EXITED')") == [(0,)]


def test_the_command_explains(stack):
    [(customer_id,)] = stack.query("select customer_id from segments.customer_standing where high_spender and at_risk limit 1")
    one = stack.lens("explain", "segment", customer_id)
    assert one["high_spender"] and one["at_risk"] and customer_id in one["why"] and "1,628.12 GBP" in one["why"]
    parts = one["clv"]["contributions"]
    assert (sum(part["thousandths"] for part in parts) + 500) // 1000 == one["clv"]["potential"] == one["clv_potential"]
    assert [part["thousandths"] for part in parts] == [one[f"clv_{part['part']}"] for part in parts], "as Postgres has it"
    history = stack.lens("segments", "history", customer_id)
    assert [change["sequence"] for change in history] == list(range(1, len(history) + 1))
    assert stack.lens("customer", customer_id)["standing"]["clv"] == one["clv"]
    assert stack.lens("segments", "--as-of", "2010-12-31")["thresholds"]["day"] == "2010-12-31"
    assert stack.run("segments", "history", "nobody").returncode == 1
    assert stack.run("segments", "--as-of", "yesterday").returncode == 2


def published(stack) -> list:
    schema = json.loads((ROOT / "schemas" / "segment_change.avsc").read_text())
    found = []
    for message in ledger_topic.read_topic(stack, "segment-changes"):
        magic, schema_id = struct.unpack(">bI", message.value()[:5])
        assert (magic, schema_id) == (0, 1012)
        value = ledger_topic._read(schema, ledger_topic._Bytes(message.value()[5:]))
        assert message.key().decode() == value["customer_id"]
        found.append((message.partition(), value))
    return found


def assert_published_once(stack, reason=None):
    [(count,)] = stack.query("select next_change - 1 from segments.owner")
    wait_for("all changes are published", lambda: stack.query("select relayed_upto - 1 from segments.owner") == [(count,)])
    rows = [row for row in published(stack) if reason in (None, row[1]["reason"])]
    table = {row[0]: row[1:] for row in stack.query("select change_id, customer_id, segment, kind, reason, sequence, clv_potential"
                                                    " from segments.changes where reason = coalesce(%s, reason)", reason)}
    count = len(table) if reason else count
    topic = {value["change_id"]: tuple(value[name] for name in ("customer_id", "segment", "kind", "reason", "sequence", "clv_potential"))
             for _, value in rows}
    assert len(rows) == len(topic) == count, "each once"
    assert topic == table
    last = {}
    for partition, value in rows:
        before = last.get(value["customer_id"], value["sequence"] - 1 if reason else 0)
        assert value["sequence"] == before + 1, "in order per customer"
        last[value["customer_id"]] = value["sequence"]


def test_the_topic_holds_each_change_once_and_in_order(stack):
    assert_published_once(stack)


def test_a_second_owner_stands_by(stack):
    folder = stack.home / "log" / "segment-2"
    folder.mkdir()
    with open(folder / "current", "wb") as log:
        process = subprocess.Popen([str(BIN / "lens-segment"), "--instance", "segment-2"], env=stack.environment(), cwd=ROOT, stderr=log)
    try:
        wait_for("it says so", lambda: "another lens-segment owns run 1" in stack.log("segment-2"), 30)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert stack.service("segment")["state"] == "ready"


def forget(stack):
    stack.query("truncate " + ", ".join(f"segments.{table.strip()}" for table in TABLES.split(",")))


def test_the_same_ledger_gives_the_same_changes_again(stack):
    first, epochs = changes(stack), thresholds(stack)
    assert len(first) > 10000 and len({day for _, day, *_ in epochs}) == 90
    forget(stack)
    stack.lens("segments", "wait", "--timeout", "120")
    assert thresholds(stack) == epochs
    assert changes(stack) == first


def test_kill_9_in_the_middle_changes_nothing(stack):
    first, epochs = changes(stack), thresholds(stack)
    forget(stack)
    reached = kill_while_working(stack, 6)
    assert any(0 < rows < ROWS for rows in reached), f"no kill met the work: {reached}"
    stack.lens("segments", "wait", "--timeout", "120")
    assert thresholds(stack) == epochs
    assert changes(stack) == first
    [(rows, repeated)] = stack.query("select sum(rows)::int8, sum(repeated)::int8 from segments.partitions")
    assert rows == ROWS


def restart_with(stack, settings: str) -> None:
    (stack.home / "lens.conf").write_text(CONFIGURATION.replace("segment: { ", f"segment: {{ {settings} "))
    pid = stack.service("segment")["pid"]
    os.kill(pid, 15)
    wait_for("segment is back", lambda: stack.service("segment")["pid"] not in (None, pid)
             and stack.service("segment")["state"] == "ready")


def test_other_settings_move_people_once_by_reason_rules(stack):
    """And where they stand then is what the batch says with those settings."""
    [(before, version)] = stack.query("select next_change - 1, threshold_version from segments.owner")
    restart_with(stack, "at_risk_days = 45; high_spender_percent = 5; tier_silver = 400;")
    wait_for("they are taken in", lambda: stack.query("select threshold_version from segments.owner") == [(version + 1,)])
    told = collections.Counter(stack.query("select segment, kind, reason from segments.changes where change_no > %s", before))
    assert {reason for _, _, reason in told} == {"RULES"}
    assert told["AT_RISK", "EXITED", "RULES"] > 100 and told["HIGH_SPENDER", "EXITED", "RULES"] == 84
    assert told["TIER_SILVER", "ENTERED", "RULES"] == told["TIER_BRONZE", "EXITED", "RULES"] > 0
    assert not any(told[segment, kind, "RULES"] for segment, kind in (
        ("AT_RISK", "ENTERED"), ("TIER_GOLD", "EXITED"), ("TIER_SILVER", "EXITED"))), "a tier falls at the review"
    settings = json.dumps({"at_risk_days": 45, "high_spender_percent": 5, "silver_points": 400})
    stream = {row[0]: row[1:] for row in stack.query(f"select customer_id, {', '.join(STREAM)} from segments.customer_standing")}
    batch = {row[0]: row[1:] for row in stack.query(
        f"select customer_id, {', '.join(BATCH)} from segments.batch_standing(%s, 1, null, %s::jsonb)", LAST_DAY, settings)}
    assert stream == batch and len(stream) == 1749

    after = before + sum(told.values())
    restart_with(stack, "at_risk_days = 45; high_spender_percent = 5; tier_silver = 400;")
    claims = stack.query("select epoch from segments.owner")
    stack.lens("segments", "wait", "--timeout", "60")
    assert stack.query("select next_change - 1, threshold_version, epoch from segments.owner") == [(after, version + 1, claims[0][0])]
    assert_published_once(stack, "RULES")  # the others stand there again: the tables were emptied by the tests before
