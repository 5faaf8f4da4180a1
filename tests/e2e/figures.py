"""What must come out: the figures of shared/data/README.md and the truth files of `lens generate`, read; and the same figures
computed from the ledger."""

from __future__ import annotations

import collections
import csv
import datetime
import gzip
import json
import math
import os
import pathlib

import pytest

from stack import DATA

SHARED = pathlib.Path(os.environ.get("LENS_SHARED_DATA", DATA))
AS_OF = datetime.date(2011, 2, 28)

# shared/data/README.md, "What an independent program found in this slice"
RETAIL = {
    "lines_read": 105335,
    "lines_good": 104795,
    "lines_bad": 540,
    "lines_duplicate": 0,
    "lines_held": 0,
    "lines_waiting": 0,
    "bad_by_code": {"PRICE_NOT_POSITIVE": 540, "SIGN_MISMATCH": 214},
    "transactions": 4550,
    "sales": 3745,
    "returns": 805,
    "voids": 0,
    "duplicates": 0,
    "held": 0,
    "net_minor": 180701993,
    "unidentified_transactions": 405,
    "unidentified_net_minor": 34079538,
    "customers": 1749,
    "points_earned": 157294,
    "points_reversed": 11944,
    "points_balance": 145350,
    "customers_below_zero": 60,
}
RETAIL_IDENTIFIED_NET = 146622455
RETAIL_WITH_SPEND, RETAIL_HIGH_SPENDERS, RETAIL_THRESHOLD, RETAIL_AT_RISK = 1672, 168, 162812, 868


def retail_file(to: pathlib.Path) -> pathlib.Path:
    """The real sales, unpacked; skips the test where the data is not there."""
    packed = SHARED / "online_retail" / "online_retail_2010-12_2011-02.csv.gz"
    if not packed.is_file():
        pytest.skip(f"{packed} is not there (LENS_SHARED_DATA names the folder)")
    path = to / "online_retail.csv"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


def retail_customers() -> dict[str, dict]:
    with gzip.open(SHARED / "online_retail" / "expected_customers.csv.gz", "rt", newline="") as file:
        return {row["customer_id"]: row for row in csv.DictReader(file)}


def without(report: dict) -> dict:
    """The report's figures that RETAIL has."""
    return {name: report[name] for name in RETAIL}


def customers_from_ledger(stack) -> dict[str, dict]:
    """Every column of expected_customers.csv.gz, computed from ledger rows alone, as of 2011-02-28."""
    rows = stack.query("select customer_id, type, points, net_minor, sale_day from loyalty.loyalty_ledger"
                       " where customer_id is not null order by partition, \"offset\", seq")
    by_customer = collections.defaultdict(list)
    for customer_id, *row in rows:
        by_customer[customer_id].append(row)
    year_ago = AS_OF.replace(year=AS_OF.year - 1)
    found = {}
    for customer_id, postings in by_customer.items():
        sales = [(day, net) for type_, _, net, day in postings if type_ == "SALE" and net > 0]
        window = [(type_, net) for type_, _, net, day in postings if year_ago < day <= AS_OF]
        last = max(day for day, _ in sales) if sales else None
        found[customer_id] = {
            "purchases": sum(type_ == "SALE" for type_, *_ in postings),
            "returns": sum(type_ == "RETURN" for type_, *_ in postings),
            "points_earned": sum(points for _, points, *_ in postings if points > 0),
            "points_reversed": -sum(points for _, points, *_ in postings if points < 0),
            "points_balance": sum(points for _, points, *_ in postings),
            "last_purchase": last.isoformat() if last else "",
            "days_since_last_purchase": (AS_OF - last).days if last else "",
            "frequency_12m": sum(type_ == "SALE" and net > 0 for type_, net in window),
            "monetary_12m_pence": sum(net for _, net in window),
        }
    spends = sorted((c["monetary_12m_pence"] for c in found.values() if c["monetary_12m_pence"] > 0), reverse=True)
    threshold = spends[math.ceil(0.10 * len(spends)) - 1] if spends else 1
    for c in found.values():
        c["high_spender"] = int(c["monetary_12m_pence"] > 0 and c["monetary_12m_pence"] >= threshold)
        days = c["days_since_last_purchase"]
        c["at_risk"] = int(days != "" and days >= 30 and c["points_balance"] > 0)
    return found


def redis_balances(stack) -> dict[str, int]:
    """Every balance that tills read."""
    redis, found = stack.redis(), {}
    for key in redis.scan_iter("ll:{r1.p*}:balance"):
        for customer_id, points in redis.hgetall(key).items():
            assert customer_id not in found, f"{customer_id} lies in two partitions"
            found[customer_id] = int(points)
    return found


class Truth:
    """The truth files of `lens generate`."""

    def __init__(self, out: pathlib.Path):
        folder = out / "truth"
        self.summary = json.loads((folder / "summary.json").read_text())
        with open(folder / "customers.csv", newline="") as file:
            self.customers = {row["customer_id"]: row for row in csv.DictReader(file)}
        with open(folder / "defects.csv", newline="") as file:
            self.defects = [row for row in csv.DictReader(file) if row["severity"] == "reject"]

    def report(self) -> dict:
        names = ("transactions", "sales", "returns", "voids", "duplicates", "net_minor", "customers", "customers_below_zero",
                 "points_earned", "points_reversed", "points_balance", "unidentified_transactions", "unidentified_net_minor")
        return {name: self.summary[name] for name in names}

    def letters(self) -> list[tuple]:
        """(stage, file:line, codes) of each dead letter that must be there."""
        return sorted((row["stage"], f"{row['file']}:{row['line']}", row["codes"]) for row in self.defects)


def letters_found(stack) -> list[tuple]:
    found = stack.lens("dlq", "list", "--limit", "100000")["letters"]
    return sorted((letter["stage"], letter["where"] if letter["stage"] == "import" else letter["source_ref"], letter["codes"])
                  for letter in found)


def first_differences(found: dict, expected: dict, count: int = 5) -> list:
    """For messages: the first few keys with other values on both sides."""
    keys = [key for key in sorted(set(found) | set(expected)) if found.get(key) != expected.get(key)]
    return [(key, found.get(key), expected.get(key)) for key in keys[:count]]
