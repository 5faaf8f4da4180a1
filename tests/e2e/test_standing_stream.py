"""The stream's standing is the batch's: customer by customer, column by column, on several days, on real and on generated sales.

lens-segment sees row after row and keeps sums; segments.batch_standing reads the whole ledger for one day; standing_oracle reads the
imported files. The sales are imported in parts, so that the stream comes to rest on several days and all of its state can be looked at; on
the days between, its thresholds and who was in what can. A second file then brings more sales of the days that were closed."""

import collections
import csv
import datetime
import zlib

import pytest

import figures
import standing_oracle
import test_standing_batch as batch
from fresh import fresh_stack
from stack import wait_for

CONFIGURATION = """
validate: { tick_ms = 1000; };
relay: { tick_ms = 1000; };
segment: { clock = "event"; quiet_ms = 10000; };
notify: { delivery = "off"; };
"""
# of segments.customer_standing -> of segments.batch_standing
COLUMNS = {"last_day": "last_purchase", "recency_days": "recency_days", "frequency": "frequency", "monetary_minor": "monetary_minor",
           "r": "recency_score", "f": "frequency_score", "m": "monetary_score", "coalesce(nullif(rfm_segment, ''), 'NONE')": "rfm",
           "points_balance": "points_balance", "tier_points": "tier_points", "tier": "tier", "high_spender": "high_spender",
           "at_risk": "at_risk", "clv_potential": "clv", "clv_trajectory": "clv_trajectory_milli",
           "clv_engagement": "clv_engagement_milli", "clv_breadth": "clv_breadth_milli", "clv_points": "clv_points_milli"}
THRESHOLDS = {"customers": "customers", "rated": "rated", "r_cuts::int8[]": "recency_cuts", "f_cuts::int8[]": "frequency_cuts",
              "m_cuts": "monetary_cuts", "base": "base", "k": "k", "threshold_minor": "threshold_minor", "categories": "categories",
              "median_balance": "median_balance"}
RETAIL_REST = ("2010-12-09", "2010-12-23", "2011-01-31", "2011-02-28")
# Of these days every fifth invoice comes in a second file, when they have been closed.
SECOND_FILE_FROM = "2011-02-18"
GENERATED_REST = ("2024-02-29", "2024-10-31", "2025-02-28", "2025-05-28")


def standing(stack) -> tuple[datetime.date, dict]:
    rows = stack.query(f"select customer_id, as_of_day, {', '.join(COLUMNS)} from segments.customer_standing where run_id = 1")
    days = {day for _, day, *_ in rows}
    assert len(days) == 1, f"at rest everybody is as of one day: {sorted(days)}"
    return days.pop(), {customer_id: dict(zip(COLUMNS.values(), values)) for customer_id, _, *values in rows}


def epochs(stack) -> dict:
    """day -> (offsets, thresholds)"""
    rows = stack.query(f"select distinct on (day) day, offsets, {', '.join(THRESHOLDS)} from segments.thresholds"
                       " where run_id = 1 order by day, version desc")
    return {day: (offsets, dict(zip(THRESHOLDS.values(), values))) for day, offsets, *values in rows}


def members(stack, day) -> dict:
    """customer -> the segments that it is in as of the day's end, by the changes alone."""
    inside = collections.defaultdict(set)
    for customer_id, segment in stack.query("select customer_id, segment from segments.members(1, %s)", day):
        inside[customer_id].add(segment)
    return dict(inside)


def expected_members(standing_of_day) -> dict:
    inside = collections.defaultdict(set)
    for customer_id, s in standing_of_day.items():
        inside[customer_id] |= {name for name, holds in (("HIGH_SPENDER", s["high_spender"]), ("AT_RISK", s["at_risk"])) if holds}
        inside[customer_id].add(f"TIER_{s['tier']}")
        inside[customer_id] |= {f"RFM_{s['rfm']}"} if s["rfm"] != "NONE" else set()
    return dict(inside)


def wait_at_rest(stack, day: str) -> None:
    def ask():
        (taken, rows, resting), = stack.query(
            "select (select coalesce(sum(rows), 0) from segments.partitions where run_id = 1),"
            " (select count(*) from loyalty.postings where run_id = 1),"
            " (select is_closed and as_of_day = %s from segments.owner where run_id = 1)", day)
        return resting and taken == rows

    wait_for(f"segment rests at {day}", ask, timeout_s=120)


def compare_at_rest(stack, postings, rest: str) -> None:
    wait_at_rest(stack, rest)
    day, found = standing(stack)
    assert day.isoformat() == rest
    offsets, cuts = epochs(stack)[day]
    by_batch = batch.standing(stack, day, offsets)
    assert set(found) == set(by_batch)
    for customer_id, columns in found.items():
        wrong = {name: (value, by_batch[customer_id][name]) for name, value in columns.items()
                 if value != by_batch[customer_id][name]}
        assert not wrong, f"{rest}, customer {customer_id}, (stream, batch): {wrong}"
    assert cuts == batch.thresholds(stack, day, offsets)
    # What is in the log is in the vector, so the batch without one says the same; and so does the third.
    assert by_batch == batch.standing(stack, day)
    places = batch.places(stack)
    known = standing_oracle.placed([p for p in postings if (p.kind, p.transaction_id) in places], places)
    batch.assert_same(stack, known, rest)


def first_run(stack) -> tuple[list, dict]:
    """Thresholds, and changes by their id: what the same ledger must give again."""
    thresholds = stack.query(f"select version, day, offsets, members, {', '.join(THRESHOLDS)}, decided_at from segments.thresholds"
                             " where run_id = 1 order by version")
    changes = stack.query("select change_id, customer_id, segment, kind, reason, sequence, effective_at, detected_at, as_of_day,"
                          " threshold_version, frequency, monetary_minor, r, f, m, points_balance, clv_potential"
                          " from segments.changes where run_id = 1")
    return thresholds, {change_id: rest for change_id, *rest in changes}


def compare_between(stack, every: int) -> int:
    """Thresholds and members on the days on which the stream did not rest; how many days."""
    days = epochs(stack)
    for at, (day, (offsets, cuts)) in enumerate(days.items()):
        if at % every and at + 1 < len(days):
            continue
        by_batch = batch.thresholds(stack, day, offsets)
        assert {**cuts, **{name: cuts[name] or None for name in cuts if name.endswith("_cuts")}} == by_batch, day
        expected = expected_members(batch.standing(stack, day, offsets))
        assert not figures.first_differences(members(stack, day), expected), day
    return len(days)


@pytest.fixture(scope="module")
def retail(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retail")
    path = figures.retail_file(folder)
    with open(path, encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    number, day = head.index("InvoiceNo"), head.index("InvoiceDate")
    second = [row for row in rows if row[day] >= SECOND_FILE_FROM and zlib.crc32(row[number].encode()) % 5 == 0]
    rows = [row for row in rows if row not in second]

    def bring(stack, name, part):
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *part])
        stack.lens("import", "online_retail", folder / name)
        stack.lens("wait")

    with fresh_stack(CONFIGURATION) as stack:
        stack.postings = standing_oracle.events_of_retail(path)
        after = ""
        for rest in RETAIL_REST:
            bring(stack, f"until_{rest}.csv", [row for row in rows if after < row[day][:10] <= rest])
            compare_at_rest(stack, stack.postings, rest)
            after = rest
        stack.first = first_run(stack)
        bring(stack, "second.csv", second)
        compare_at_rest(stack, stack.postings, after)
        yield stack


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    out = tmp_path_factory.mktemp("generated")
    with fresh_stack(CONFIGURATION) as stack:
        stack.lens("generate", "--out", out, "--seed", "5", "--days", str(batch.GENERATED_DAYS), "--customers", "150", "--sales",
                   "12000", "--start", batch.GENERATED_START, "--defects", "0", "--returns", "8")
        stack.postings = standing_oracle.events_of_folder(out)
        with open(out / "sales.csv", encoding="utf-8", newline="") as file:
            head, *sales = csv.reader(file)
        with open(out / "sale_lines.csv", encoding="utf-8", newline="") as file:
            line_head, *lines = csv.reader(file)
        local = {row[0]: datetime.datetime.fromisoformat(row[head.index("event_time")].replace("Z", "+00:00"))
                 .astimezone(standing_oracle.ZONE).date().isoformat() for row in sales}
        # What sales name comes before them: one that waits for it would come after its day.
        part = out / "references"
        part.mkdir()
        for name in ("stores", "products", "customers", "promotions"):
            (part / f"{name}.csv").write_bytes((out / f"{name}.csv").read_bytes())
        stack.lens("import", "header_lines", part)
        stack.lens("wait")
        after = ""
        for rest in GENERATED_REST:
            part = out / f"until_{rest}"
            part.mkdir()
            for name, first, all_rows in (("sales", head, sales), ("sale_lines", line_head, lines)):
                with open(part / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows([first, *(r for r in all_rows if after < local[r[0]] <= rest)])
            stack.lens("import", "header_lines", part)
            last = max(day for day in local.values() if day <= rest)
            compare_at_rest(stack, stack.postings, last)
            after = rest
        yield stack


def test_real_sales_at_rest_on_four_days(retail):
    report = retail.lens("report")
    assert report["as_of"] == "2011-02-28"
    assert report["high_spender"] == {"base": figures.RETAIL_WITH_SPEND, "k": figures.RETAIL_HIGH_SPENDERS,
                                      "threshold_minor": figures.RETAIL_THRESHOLD, "members": figures.RETAIL_HIGH_SPENDERS}
    assert report["at_risk"] == figures.RETAIL_AT_RISK
    by_batch = retail.lens("report", "--as-of", "2011-02-28")
    same = ("as_of", "high_spender", "at_risk", "tiers", "segments")
    assert {name: report[name] for name in same} == {name: by_batch[name] for name in same}


def test_a_second_file_of_the_same_days_moves_the_last_days_threshold(retail):
    (thresholds, changes), (before, changes_before) = first_run(retail), retail.first
    assert thresholds[:-1] == before, "what was decided stays"
    last, again = thresholds[-2:]
    assert again[0] == last[0] + 1 and again[1] == last[1], "a later version of the same day"
    threshold, members = -4, 3
    assert last[threshold] < again[threshold] == figures.RETAIL_THRESHOLD
    assert again[members] == figures.RETAIL_HIGH_SPENDERS
    assert all(changes[change_id] == change for change_id, change in changes_before.items())
    told = retail.query("select segment, kind from segments.changes where run_id = 1 and threshold_version = %s and reason = 'THRESHOLD'",
                        again[0])
    assert ("HIGH_SPENDER", "EXITED") in told


def test_real_sales_on_the_days_between(retail):
    assert compare_between(retail, every=6) > 60


def test_generated_sales_at_rest_and_between(generated):
    assert compare_between(generated, every=29) > 400


def test_the_map_of_the_stream_is_the_one_of_the_batch(retail):
    assert retail.query("select count(*), count(*) filter (where name = segments.rfm_name(r, f, m)), count(distinct name)"
                        " from segments.rfm_map") == [(125, 125, 11)]


def test_the_same_ledger_gives_the_same_again_second_file_and_all(retail):
    first = first_run(retail)
    retail.query("truncate segments.owner, segments.partitions, segments.customer_standing, segments.thresholds, segments.categories,"
                 " segments.changes")
    retail.lens("segments", "wait", "--timeout", "120")
    assert first_run(retail) == first
