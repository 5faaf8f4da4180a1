"""Standing by batch SQL, on what went through the real line, against shared/data/README.md and against a program in another
language that reads the imported files."""

import collections
import datetime
import json

import pytest

import figures
import standing_oracle
from fresh import fresh_stack

COLUMNS = ("purchases", "returns", "points_earned", "points_reversed", "points_balance", "last_purchase", "recency_days", "frequency",
           "monetary_minor", "recency_score", "frequency_score", "monetary_score", "rfm", "high_spender", "at_risk", "tier_points",
           "tier", "clv", "clv_trajectory_milli", "clv_engagement_milli", "clv_breadth_milli", "clv_points_milli")
THRESHOLDS = ("customers", "rated", "recency_cuts", "frequency_cuts", "monetary_cuts", "base", "k", "threshold_minor", "categories",
              "median_balance")
RETAIL_DAYS = ("2010-11-30", "2010-12-01", "2010-12-31", "2011-01-01", "2011-01-18", "2011-02-01", "2011-02-28", "2011-05-29",
               "2011-12-17", "2012-02-29")
GENERATED_START, GENERATED_DAYS = "2024-01-15", 500
DAYS_OF_GENERATED = ("2024-01-15", "2024-02-29", "2024-03-31", "2024-08-07", "2025-01-14", "2025-02-28", "2025-03-01", "2025-03-17",
                     "2025-05-28", "2025-12-31", "2026-06-15")


def standing(stack, day, upto=None, settings=None) -> dict:
    rows = stack.query(f"select customer_id, {', '.join(COLUMNS)} from segments.batch_standing(%s, 1, %s::int8[], %s::jsonb)",
                       day, upto, settings)
    return {customer_id: dict(zip(COLUMNS, values)) for customer_id, *values in rows}


def thresholds(stack, day, upto=None) -> dict:
    rows = stack.query(f"select {', '.join(THRESHOLDS)} from segments.batch_thresholds(%s, 1, %s::int8[])", day, upto)
    return dict(zip(THRESHOLDS, rows[0]))


def places(stack) -> dict:
    rows = stack.query("select type, transaction_id, partition, \"offset\", seq from loyalty.loyalty_ledger where run_id = 1")
    return {(kind, number): (partition, offset, seq) for kind, number, partition, offset, seq in rows}


def assert_same(stack, postings, day, upto=None, settings=None, oracle_settings=None):
    expected = standing_oracle.Day(postings, datetime.date.fromisoformat(day), upto, oracle_settings)
    if settings is None:
        assert thresholds(stack, day, upto) == expected.thresholds, day
    found = standing(stack, day, upto, settings)
    for customer_id, columns in expected.standing.items():
        wrong = {name: (found[customer_id][name], columns[name]) for name in COLUMNS
                 if customer_id in found and found[customer_id][name] != columns[name]}
        assert customer_id in found and not wrong, f"{day}, customer {customer_id}, (batch, oracle): {wrong}"
    assert len(found) == len(expected.standing), day
    return expected


@pytest.fixture(scope="module")
def retail(tmp_path_factory):
    path = figures.retail_file(tmp_path_factory.mktemp("retail"))
    with fresh_stack() as stack:
        stack.lens("import", "online_retail", path)
        stack.lens("wait", "--timeout", "240")
        stack.postings = standing_oracle.placed(standing_oracle.events_of_retail(path), places(stack))
        yield stack


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Sixteen months with returns and voids, so that the window moves over the first of them."""
    out = tmp_path_factory.mktemp("generated")
    with fresh_stack() as stack:
        stack.lens("generate", "--out", out, "--seed", "5", "--days", str(GENERATED_DAYS), "--customers", "150", "--sales", "12000",
                   "--start", GENERATED_START, "--defects", "0", "--returns", "8")
        stack.lens("import", "header_lines", out)
        stack.lens("wait", "--timeout", "240")
        stack.postings = standing_oracle.placed(standing_oracle.events_of_folder(out), places(stack))
        yield stack


def test_the_published_figures_of_the_real_sales(retail):
    base = thresholds(retail, "2011-02-28")
    assert (base["customers"], base["base"], base["k"]) == (1749, figures.RETAIL_WITH_SPEND, figures.RETAIL_HIGH_SPENDERS)
    assert base["threshold_minor"] == figures.RETAIL_THRESHOLD
    found = standing(retail, "2011-02-28").values()
    assert sum(s["high_spender"] for s in found) == figures.RETAIL_HIGH_SPENDERS
    assert sum(s["at_risk"] for s in found) == figures.RETAIL_AT_RISK
    assert sum(s["monetary_minor"] for s in found) == figures.RETAIL_IDENTIFIED_NET


def test_every_column_of_the_published_customers(retail):
    names = {"purchases": "purchases", "returns": "returns", "points_earned": "points_earned", "points_reversed": "points_reversed",
             "points_balance": "points_balance", "last_purchase": "last_purchase", "days_since_last_purchase": "recency_days",
             "frequency_12m": "frequency", "monetary_12m_pence": "monetary_minor", "high_spender": "high_spender",
             "at_risk": "at_risk"}

    def text(value):
        return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)

    expected = {customer_id: {name: row[name] for name in row if name != "customer_id"}
                for customer_id, row in figures.retail_customers().items()}
    assert all(set(row) == set(names) for row in expected.values()), "every column is compared"
    found = {customer_id: {name: text(s[column]) for name, column in names.items()}
             for customer_id, s in standing(retail, "2011-02-28").items()}
    assert not figures.first_differences(found, expected)


def test_the_files_give_the_postings_of_the_ledger(retail, generated):
    for stack in (retail, generated):
        rows = stack.query("select type, transaction_id, customer_id, sale_day, net_minor, points from loyalty.loyalty_ledger")
        found = {(kind, number): tuple(rest) for kind, number, *rest in rows}
        expected = {(p.kind, p.transaction_id): (p.customer_id, p.sale_day, p.net_minor, p.points) for p in stack.postings}
        assert not figures.first_differences(found, expected)


@pytest.mark.parametrize("day", RETAIL_DAYS)
def test_real_sales_on_other_days(retail, day):
    assert_same(retail, retail.postings, day)


@pytest.mark.parametrize("day", DAYS_OF_GENERATED)
def test_generated_sales_on_several_days(generated, day):
    assert_same(generated, generated.postings, day)


def test_generated_sales_have_what_the_definitions_speak_of(generated):
    """Else the comparisons above compare nothing."""
    days = [standing_oracle.Day(generated.postings, datetime.date.fromisoformat(day)) for day in DAYS_OF_GENERATED]
    seen = collections.Counter(s["rfm"] for d in days for s in d.standing.values())
    assert {standing_oracle.segment_name(r, f, f) for r in range(1, 6) for f in range(1, 6)} <= set(seen)
    everybody = [s for d in days for s in d.standing.values()]
    assert {"BRONZE", "SILVER", "GOLD"} == {s["tier"] for s in everybody}
    assert any(s["tier"] != "BRONZE" and s["tier_points"] < 500 for s in everybody), "a tier that waits for its review"
    assert any(s["frequency"] == 0 and s["recency_days"] for s in everybody), "a customer who has left the window"
    assert any(s["high_spender"] and s["at_risk"] for s in everybody)
    for name in ("trajectory", "engagement", "breadth", "points"):
        assert len({s[f"clv_{name}_milli"] for s in everybody}) > 20, name
    assert {p.kind for p in generated.postings} == {"SALE", "RETURN", "VOID"}
    assert any(p.event_day != p.sale_day for p in generated.postings)


def test_a_recorded_vector_of_offsets_decides_what_was_known(generated):
    ends = collections.Counter()
    for p in generated.postings:
        ends[p.place[0]] = max(ends[p.place[0]], p.place[1] + 1)
    part = [ends[partition] * (partition + 1) // 9 for partition in range(8)]
    for day in ("2024-08-07", "2025-03-17"):
        some = assert_same(generated, generated.postings, day, part)
        assert some.thresholds != standing_oracle.Day(generated.postings, datetime.date.fromisoformat(day)).thresholds


def test_other_settings_decide_otherwise(generated):
    given = {"silver_points": 100, "gold_points": 300, "at_risk_days": 10, "high_spender_percent": 33, "clv_trajectory": 40,
             "clv_engagement": 5, "clv_breadth": 15, "clv_points": 40, "gate_days": 7, "gate_half_days": 20}
    weights = tuple(given[f"clv_{name}"] for name in ("trajectory", "engagement", "breadth", "points"))
    assert_same(generated, generated.postings, "2025-03-17", None, json.dumps(given), {**given, "weights": weights})


def test_the_report_of_a_day_is_that_of_its_customers(retail):
    report = retail.lens("report", "--as-of", "2011-02-28")
    assert report["as_of"] == "2011-02-28"
    assert report["high_spender"] == {"base": figures.RETAIL_WITH_SPEND, "k": figures.RETAIL_HIGH_SPENDERS,
                                      "threshold_minor": figures.RETAIL_THRESHOLD, "members": figures.RETAIL_HIGH_SPENDERS}
    assert report["at_risk"] == figures.RETAIL_AT_RISK
    expected = standing_oracle.Day(retail.postings, datetime.date(2011, 2, 28)).standing.values()
    assert report["tiers"] == dict(collections.Counter(s["tier"] for s in expected))
    assert report["segments"] == dict(collections.Counter(s["rfm"] for s in expected))
    before = retail.lens("report", "--as-of", "1999-12-31")
    assert before["high_spender"] == {"base": 0, "k": 0, "threshold_minor": None, "members": 0}
    assert before["tiers"] == {"BRONZE": 0, "SILVER": 0, "GOLD": 0} and before["at_risk"] == 0 and before["segments"] == {}


@pytest.mark.parametrize("day", ("yesterday", "2011-02-29", "0000001230d", "2011-02-28T00:00:00Z", ""))
def test_what_is_no_day_is_refused(retail, day):
    refused = retail.run("report", "--as-of", day)
    assert refused.returncode == 2 and "--as-of" in refused.stderr


def test_all_cells_have_one_name(generated):
    cells = [(r, f, m) for r in range(1, 6) for f in range(1, 6) for m in range(1, 6)]
    found = generated.query("select segments.rfm_name(r, f, m) from generate_series(1, 5) r, generate_series(1, 5) f,"
                            " generate_series(1, 5) m order by r, f, m")
    assert [name for (name,) in found] == [standing_oracle.segment_name(*cell) for cell in cells]
    assert len(cells) == 125 and len({name for (name,) in found}) == 11
