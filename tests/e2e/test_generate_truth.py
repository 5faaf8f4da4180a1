"""Generated data through the whole line, by file and by topic: what comes out is what truth/ says, code by code."""

import collections
import csv
import json
import re
import time

import pytest

OPTIONS = ("--sales", "3000", "--customers", "300", "--defects", "8", "--returns", "12", "--duplicates", "3")


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refused_codes(stack):
    """stage -> how often each set of codes was given."""
    found = collections.defaultdict(collections.Counter)
    for letter in stack.lens("dlq", "list", "--limit", "100000")["letters"]:
        found[letter["stage"]][frozenset(re.findall(r"[A-Z_]+", str(letter["codes"])))] += 1
    return found


def told_codes(truth):
    told = collections.defaultdict(collections.Counter)
    for row in table(truth / "defects.csv"):
        if row["severity"] == "reject":
            told[row["stage"]][frozenset(row["codes"].split(","))] += 1
    return told


def accounts(stack):
    rows = stack.query("select customer_id, points_earned, points_reversed, points_balance, net_minor, postings"
                       " from loyalty.loyalty_accounts")
    return {row[0]: tuple(map(int, row[1:])) for row in rows}


def check(stack, truth):
    told = {row["customer_id"]: tuple(int(row[k]) for k in ("points_earned", "points_reversed", "points_balance", "net_minor",
                                                            "transactions")) for row in table(truth / "customers.csv")}
    assert accounts(stack) == told
    assert refused_codes(stack) == told_codes(truth)
    report = stack.lens("report")
    summary = json.loads((truth / "summary.json").read_text())
    for key in ("transactions", "sales", "returns", "net_minor", "customers", "points_earned", "points_reversed", "points_balance",
                "customers_below_zero", "unidentified_transactions", "unidentified_net_minor"):
        assert report[key] == summary[key], key
    assert stack.run("verify").returncode == 0


@pytest.mark.parametrize("to", ["files", "topics"])
def test_what_comes_out_is_the_truth(home, tmp_path, to):
    home.up()
    made = home.lens("generate", "--out", tmp_path, "--seed", "21", *OPTIONS, *(["--topics"] if to == "topics" else []))
    assert made["defects"] > 200
    if to == "files":
        home.lens("import", "header_lines", tmp_path)
    home.lens("wait", "--timeout", "120")
    check(home, tmp_path / "truth")


def test_a_steady_rate_is_kept(stack, tmp_path):
    begun = time.monotonic()
    stack.lens("generate", "--out", tmp_path, "--seed", "3", "--sales", "600", "--customers", "50", "--defects", "0", "--returns", "0",
               "--duplicates", "0", "--topics", "--rate", "400")
    assert time.monotonic() - begun >= 1.45
