"""Standing, a third time: from the files that were imported, in plain Python. It shares nothing with the stream (C) and the batch
(SQL) but the definitions of DESIGN 6; the tests ask that all three give the same numbers.

events_of_retail, events_of_folder   the postings that must come of the files, by the rules of points at their default
Day                                  everybody's standing on one day
"""

from __future__ import annotations

import bisect
import collections
import csv
import datetime
import decimal
import math
import pathlib
import re
import zoneinfo
from typing import NamedTuple, Optional

ZONE = zoneinfo.ZoneInfo("Europe/London")
PER_POINT_MINOR = 1000
SETTINGS = {"at_risk_days": 30, "high_spender_percent": 10, "silver_points": 500, "gold_points": 2000,
            "weights": (10, 45, 25, 20), "gate_days": 30, "gate_half_days": 120}


class Posting(NamedTuple):
    kind: str  # SALE, RETURN, VOID
    transaction_id: str
    customer_id: Optional[str]
    event_day: datetime.date
    sale_day: datetime.date
    net_minor: int
    points: int
    spend: dict  # category -> net_minor; None: not known
    sale: Optional[str]  # transaction_id of the sale that it is or belongs to
    place: tuple = (0, 0, 0)  # (partition, offset, seq)


def _toward_zero(minor: int) -> int:
    return minor // PER_POINT_MINOR if minor >= 0 else -(-minor // PER_POINT_MINOR)


# ---- what the files come to ----

def events_of_retail(path: pathlib.Path) -> list[Posting]:
    """One row is one line; the good lines of an invoice are one transaction (shared/data/README.md)."""
    invoices: dict[str, list] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            number, quantity = row["InvoiceNo"], int(row["Quantity"])
            price = decimal.Decimal(row["UnitPrice"]) * 100
            is_return = number.startswith("C")
            if not re.fullmatch(r"C?\d{6}", number) or not row["StockCode"].strip() or quantity == 0:
                continue
            if (quantity < 0) != is_return or price <= 0 or price != int(price):
                continue
            customer = row["CustomerID"].removesuffix(".0") or None
            at = datetime.datetime.strptime(row["InvoiceDate"], "%Y-%m-%d %H:%M:%S")
            invoices.setdefault(number, []).append((at, customer, abs(quantity) * int(price)))
    postings = []
    for offset, (number, lines) in enumerate(invoices.items()):
        day, minor = min(at for at, _, _ in lines).date(), sum(minor for _, _, minor in lines)
        sign = -1 if number.startswith("C") else 1
        customer = lines[0][1]
        postings.append(Posting("RETURN" if sign < 0 else "SALE", number, customer, day, day, sign * minor,
                                sign * _toward_zero(minor) if customer else 0, {None: sign * minor},
                                number if sign > 0 else None, (0, offset, 0)))
    return postings


class _Sale:
    def __init__(self, day, customer, lines):
        self.day, self.customer = day, customer
        self.lines = [[product, category, minor, minor] for product, category, minor in lines]  # [3]: what is left
        self.back = collections.Counter()
        self.posted = _toward_zero(sum(minor for _, _, minor in lines)) if customer else 0

    def give_back(self, returned) -> tuple[dict, int]:
        """Takes lines back, or all (None); what that changes by category, and in points."""
        for product, _, minor in returned or []:
            self.back[product] += minor
        spend, room = collections.Counter(), collections.Counter(self.back)
        for line in self.lines:
            product, category, sold, left = line
            taken = min(sold, room[product]) if returned is not None else sold
            room[product] -= taken
            now = min(left, sold - taken)
            spend[category] += now - left
            line[3] = now
        target = _toward_zero(sum(line[3] for line in self.lines)) if self.customer else 0
        points, self.posted = target - self.posted, target
        return dict(spend), points


def events_of_folder(folder: pathlib.Path) -> list[Posting]:
    """What `lens generate --defects 0` wrote; returns are priced by what they leave of their sale."""
    def rows(name):
        with open(folder / name, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    category = {row["product_id"]: row["category"] or None for row in rows("products.csv")}
    lines = collections.defaultdict(dict)  # a duplicate has the same lines again
    for row in rows("sale_lines.csv"):
        minor = int((decimal.Decimal(row["amount"]) * 100).to_integral_exact())
        lines[row["transaction_id"]][int(row["line_no"])] = (row["product_id"], category[row["product_id"]], minor)
    heads, sales, postings = {}, {}, []
    for row in rows("sales.csv"):
        heads.setdefault((row["type"], row["transaction_id"]), row)
    # A return that comes before its sale waits for it.
    for (kind, number), row in sorted(heads.items(), key=lambda item: item[0][0] != "SALE"):
        own = list(lines[number].values())
        at = datetime.datetime.fromisoformat(row["event_time"].replace("Z", "+00:00"))
        day, customer = at.astimezone(ZONE).date(), row["customer_id"] or None
        original = row["original_transaction_id"]
        if original:
            sale = sales[original]
            spend, points = sale.give_back(None if kind == "VOID" else own)
            postings.append(Posting(kind, number, sale.customer, day, sale.day, sum(spend.values()), points, spend, original))
            continue
        sign, spend = (1 if kind == "SALE" else -1), collections.Counter()
        for _, name, minor in own:
            spend[name] += sign * minor
        minor = abs(sum(spend.values()))
        if kind == "SALE":
            sales[number] = _Sale(day, customer, own)
        postings.append(Posting(kind, number, customer, day, day, sign * minor, sign * _toward_zero(minor) if customer else 0,
                                dict(spend), number if kind == "SALE" else None))
    return postings


def placed(postings: list[Posting], places: dict) -> list[Posting]:
    """With the place that each has in the log: (kind, transaction_id) -> (partition, offset, seq)."""
    return sorted((p._replace(place=places[p.kind, p.transaction_id]) for p in postings), key=lambda p: p.place)


# ---- standing ----

def year_before(day: datetime.date) -> datetime.date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year - 1, day=28)


def segment_name(r: int, f: int, m: int) -> str:
    """All 125 cells, written in another shape than the others have: rules, the first that holds."""
    if r == 0:
        return "NONE"
    fm = (f + m + 1) // 2
    for name, holds in (
            ("CHAMPION", fm == 5 and r >= 4 or fm == 4 and r == 5),
            ("LOYAL", r == 4 and fm >= 3 or r == 3 and fm >= 4),
            ("POTENTIAL_LOYALIST", r >= 4 and fm >= 2),
            ("NEW_CUSTOMER", r == 5),
            ("PROMISING", r == 4),
            ("CANNOT_LOSE", r == 1 and fm >= 4),
            ("SLIPPING", r == 2 and fm >= 4),
            ("NEEDS_ATTENTION", r == 3 and fm >= 2 or r == 2 and fm == 3),
            ("HIBERNATING", r == 1 and fm >= 2),
            ("ABOUT_TO_SLEEP", r >= 2)):
        if holds:
            return name
    return "LOST"


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


class _Customer:
    def __init__(self):
        self.net, self.sales = collections.Counter(), collections.Counter()  # by sale day
        self.left = collections.defaultdict(int)  # (sale day, sale) -> what is left of it
        self.rows = []
        self.spend = collections.Counter()


class Day:
    """standing: customer -> columns of segments.batch_standing; thresholds: those of segments.batch_thresholds."""

    def __init__(self, postings: list[Posting], day: datetime.date, upto: Optional[list[int]] = None, settings=None):
        self.day, self.settings = day, {**SETTINGS, **(settings or {})}
        self.gone = year_before(day)
        self.customers = collections.defaultdict(_Customer)
        categories, clocks = set(), {}
        for p in sorted(postings, key=lambda p: p.place):
            partition, offset, _ = p.place
            if offset >= upto[partition] if upto is not None else p.event_day > day:
                continue
            clocks[partition] = max(clocks.get(partition, p.event_day), p.event_day)
            clock = min(clocks[partition], day)
            if p.kind == "SALE":
                categories |= {name for name in p.spend if name}
            if p.customer_id is None:
                continue
            c = self.customers[p.customer_id]
            c.rows.append((clock, p))
            c.spend.update({name: minor for name, minor in p.spend.items() if name})
            if p.sale_day <= day:
                c.net[p.sale_day] += p.net_minor
                if p.sale is not None:
                    c.left[p.sale_day, p.sale] += p.net_minor
        self.categories = len(categories)
        for c in self.customers.values():
            c.sales.update(sale_day for (sale_day, _), net_minor in c.left.items() if net_minor > 0)
        self.standing = {customer_id: self._own(c) for customer_id, c in self.customers.items()}
        self.thresholds = self._thresholds()
        for customer_id, s in self.standing.items():
            self._place(s, self.customers[customer_id])

    def _own(self, c: _Customer) -> dict:
        """What needs nobody else."""
        bought = [day for day, count in c.sales.items() if count > 0]
        points = [p.points for _, p in c.rows]
        last = max(bought, default=None)
        return {
            "purchases": sum(p.kind == "SALE" for _, p in c.rows),
            "returns": sum(p.kind != "SALE" for _, p in c.rows),
            "points_earned": sum(n for n in points if n > 0),
            "points_reversed": -sum(n for n in points if n < 0),
            "points_balance": sum(points),
            "last_purchase": last,
            "recency_days": None if last is None else (self.day - last).days,
            "frequency": sum(count for day, count in c.sales.items() if day > self.gone),
            "monetary_minor": sum(net for day, net in c.net.items() if day > self.gone),
            "tier_points": sum(p.points for _, p in c.rows if self.gone < p.sale_day <= self.day),
            "tier": self._tier(c),
        }

    def _tier(self, c: _Customer) -> str:
        """The most that the window held at any moment since the first of the month, watched moment by moment."""
        day, high = self.day.replace(day=1), None
        while day <= self.day:
            gone, was = year_before(day), [p for clock, p in c.rows if clock < day]
            held = sum(p.points for p in was if p.sale_day > gone)
            high = held if high is None else max(high, held)
            for clock, p in c.rows:
                if clock == day:
                    held += p.points if p.sale_day > gone else 0
                    high = max(high, held)
            day += datetime.timedelta(days=1)
        return "GOLD" if high >= self.settings["gold_points"] else "SILVER" if high >= self.settings["silver_points"] else "BRONZE"

    def _thresholds(self) -> dict:
        everybody = list(self.standing.values())
        rated = [s for s in everybody if s["frequency"] > 0]

        def cuts(name):
            values = sorted(s[name] for s in rated)
            return [values[math.ceil(i * len(values) / 5) - 1] for i in (1, 2, 3, 4)] if values else None

        spends = sorted((s["monetary_minor"] for s in everybody if s["monetary_minor"] > 0), reverse=True)
        k = -(-len(spends) * self.settings["high_spender_percent"] // 100)
        balances = sorted(s["points_balance"] for s in everybody if s["points_balance"] > 0)
        return {"customers": len(everybody), "rated": len(rated), "recency_cuts": cuts("recency_days"),
                "frequency_cuts": cuts("frequency"), "monetary_cuts": cuts("monetary_minor"), "base": len(spends), "k": k,
                "threshold_minor": spends[k - 1] if spends else None, "categories": self.categories,
                "median_balance": balances[(len(balances) - 1) // 2] if balances else 0}

    def _place(self, s: dict, c: _Customer) -> None:
        """What is measured against the others."""
        t = self.thresholds
        r = f = m = 0
        if s["frequency"] > 0:
            # bisect_left counts the cuts that lie below the value
            r = 5 - bisect.bisect_left(t["recency_cuts"], s["recency_days"])
            f = 1 + bisect.bisect_left(t["frequency_cuts"], s["frequency"])
            m = 1 + bisect.bisect_left(t["monetary_cuts"], s["monetary_minor"])
        s.update(recency_score=r, frequency_score=f, monetary_score=m, rfm=segment_name(r, f, m))
        s["high_spender"] = s["monetary_minor"] > 0 and s["monetary_minor"] >= t["threshold_minor"]
        s["at_risk"] = (s["recency_days"] is not None and s["recency_days"] >= self.settings["at_risk_days"]
                        and s["points_balance"] > 0)
        parts = self._parts(s, c)
        gate = 1.0
        if s["frequency"] > 0 and s["recency_days"] > self.settings["gate_days"]:
            gate = math.pow(2.0, -float(s["recency_days"] - self.settings["gate_days"]) / self.settings["gate_half_days"])
        milli = [_half_up(weight * part * gate * 1000) for weight, part in zip(self.settings["weights"], parts)]
        for name, value in zip(("trajectory", "engagement", "breadth", "points"), milli):
            s[f"clv_{name}_milli"] = value
        s["clv"] = (sum(milli) + 500) // 1000

    def _parts(self, s: dict, c: _Customer) -> tuple:
        """Trajectory, engagement, breadth, points: 0 to 1 each."""
        if s["frequency"] <= 0:
            return 0.0, 0.0, 0.0, 0.0
        frequency, spend = s["frequency"], max(s["monetary_minor"], 0)
        age = {day: (self.day - day).days for day in c.net}
        recent = sum(net for day, net in c.net.items() if age[day] < 90)
        prior = sum(net for day, net in c.net.items() if 90 <= age[day] < 365)
        recent_count = sum(n for day, n in c.sales.items() if age[day] < 90)
        prior_count = sum(n for day, n in c.sales.items() if 90 <= age[day] < 365)
        x = float(recent * frequency + 2 * spend) * float(prior_count + 2)
        y = float(prior * frequency + 2 * spend) * float(recent_count + 2)
        if x <= 0:
            trajectory = 0.0
        elif y <= 0:
            trajectory = 1.0
        else:
            ratio = max(min(x, y) / max(x, y), 1e-20)
            fourth = (ratio * ratio) * (ratio * ratio)
            trajectory = fourth / (1 + fourth) if x <= y else 1 / (1 + fourth)

        bought = [day for day, count in c.sales.items() if count > 0]
        weeks_active = len({age[day] // 7 for day in bought if age[day] < 182})
        weeks = min(26, (self.day - min(day for day, _ in c.left)).days // 7 + 1)
        engagement = min(1.0, float(2 * weeks_active + 1) / float(weeks + 4))

        shares = sorted((name.encode(), net) for name, net in c.spend.items() if net > 0)
        whole, entropy = sum(net for _, net in shares), 0.0
        for _, net in shares:
            entropy += -(float(net) / float(whole) * math.log(float(net) / float(whole)))
        scale = min(8, self.categories)
        breadth = min(1.0, entropy / math.log(float(scale))) if scale >= 2 and whole > 0 else 0.0

        balance = max(s["points_balance"], 0)
        points = min(1.0, math.log(1 + float(balance)) / math.log(1 + float(10 * self.thresholds["median_balance"]))) if balance else 0.0
        return trajectory, engagement, breadth, points
