"""The whole line on the real stack: from files to points, every figure."""

import collections

import pytest

import figures
from fresh import fresh_stack, stack  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def retail(stack, tmp_path_factory):  # noqa: F811
    """Real sales, imported and credited."""
    path = figures.retail_file(tmp_path_factory.mktemp("retail"))
    stack.lens("import", "online_retail", path)
    stack.lens("wait", "--timeout", "240")
    stack.retail = path
    return stack


def test_every_figure_of_the_real_sales(retail):
    assert figures.without(retail.lens("report")) == figures.RETAIL
    identified = retail.query("select sum(net_minor)::int8 from loyalty.ledger where customer_id is not null")
    assert identified == [(figures.RETAIL_IDENTIFIED_NET,)]


def test_every_customer_of_the_real_sales(retail):
    expected = figures.retail_customers()
    found = {customer_id: {name: str(value) for name, value in columns.items()}
             for customer_id, columns in figures.customers_from_ledger(retail).items()}
    expected = {customer_id: {name: row[name] for name in row if name != "customer_id"}
                for customer_id, row in expected.items()}
    assert not figures.first_differences(found, expected)
    spends = sorted(int(c["monetary_12m_pence"]) for c in found.values() if int(c["monetary_12m_pence"]) > 0)
    high = [int(c["monetary_12m_pence"]) for c in found.values() if c["high_spender"] == "1"]
    assert len(spends) == figures.RETAIL_WITH_SPEND
    assert len(high) == figures.RETAIL_HIGH_SPENDERS and min(high) == figures.RETAIL_THRESHOLD
    assert sum(c["at_risk"] == "1" for c in found.values()) == figures.RETAIL_AT_RISK


def test_tills_see_the_same_balances(retail):
    expected = {customer_id: int(row["points_balance"]) for customer_id, row in figures.retail_customers().items()}
    assert not figures.first_differences(figures.redis_balances(retail), expected)
    richest = max(expected, key=expected.get)
    customer = retail.lens("customer", richest)
    assert customer["stores_agree"] and customer["redis_balance"] == customer["points_balance"] == expected[richest]


def test_verify_finds_nothing(retail):
    verify = retail.lens("verify")
    assert verify["ok"] and verify["different"] == 0
    compared = {check["check"]: check["compared"] for check in verify["checks"]}
    assert compared["conservation"] == 4550 and compared["fold"] == 4550
    assert compared["redis"] == compared["accounts"] == 1749


def test_a_refused_row_keeps_its_bytes(retail):
    letters = retail.lens("dlq", "list", "--code", "SIGN_MISMATCH", "--limit", "1000")["letters"]
    assert len(letters) == 214
    shown = retail.lens("dlq", "show", letters[0]["ref"])
    file, line = shown["where"].rsplit(":", 1)
    rows = retail.retail.read_bytes().splitlines()
    assert file == retail.retail.name
    assert bytes.fromhex(shown["value_hex"]) == rows[int(line) - 1]


def test_the_same_file_again_credits_nothing_again(retail):
    refused = retail.run("import", "online_retail", str(retail.retail))
    assert refused.returncode != 0 and "--again" in refused.stderr
    before = retail.lens("report")
    retail.lens("import", "online_retail", retail.retail, "--again")
    retail.lens("wait", "--timeout", "240")
    after = retail.lens("report")
    assert after["duplicates"] == 4550 and after["lines_duplicate"] == 104795
    assert after["lines_read"] == 2 * before["lines_read"] and after["lines_waiting"] == 0
    same = ("transactions", "net_minor", "points_earned", "points_reversed", "points_balance", "customers", "lines_good")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert retail.lens("verify")["ok"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Synthetic sales with a defect in one of twenty, on a stack of their own."""
    out = tmp_path_factory.mktemp("generated")
    with fresh_stack() as stack:
        stack.lens("generate", "--out", out, "--seed", "20110228", "--defects", "5")
        stack.lens("import", "header_lines", out)
        stack.lens("wait", "--timeout", "240")
        yield stack, figures.Truth(out)


def test_generated_sales_come_to_their_truth(generated):
    stack, truth = generated
    report = stack.lens("report")
    expected = truth.report()
    assert {name: report[name] for name in expected} == expected
    assert report["warnings_by_code"].get("REFUND_EXCESS", 0) == truth.summary["refund_excess"]
    assert report["held"] == 0 and report["lines_waiting"] == 0


def test_every_planted_defect_is_found_with_every_code(generated):
    stack, truth = generated
    found, expected = figures.letters_found(stack), truth.letters()
    counted = collections.Counter(code for _, _, codes in expected for code in codes.split(","))
    missing = sorted((collections.Counter(expected) - collections.Counter(found)).elements())
    extra = sorted((collections.Counter(found) - collections.Counter(expected)).elements())
    assert (missing[:10], extra[:10]) == ([], [])
    assert stack.lens("report")["dead_letters_by_code"] == dict(counted)
    assert len(counted) >= 30, "the generator plants nearly every class"


def test_every_generated_customer_has_its_points(generated):
    stack, truth = generated
    rows = stack.query("select customer_id, points_earned, points_reversed, points_balance, net_minor, postings"
                       " from loyalty.loyalty_accounts")
    columns = ("points_earned", "points_reversed", "points_balance", "net_minor", "transactions")
    found = {customer_id: tuple(values) for customer_id, *values in rows}
    expected = {customer_id: tuple(int(row[name]) for name in columns) for customer_id, row in truth.customers.items()}
    assert not figures.first_differences(found, expected)
    balances = {customer_id: values[2] for customer_id, values in expected.items()}
    shown = {customer_id: points for customer_id, points in figures.redis_balances(stack).items()
             if points != 0 or customer_id in balances}
    assert not figures.first_differences(shown, balances)


def test_verify_finds_nothing_in_generated_sales(generated):
    stack, _ = generated
    assert stack.lens("verify")["ok"]
