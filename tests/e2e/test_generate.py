"""`lens generate`: the files alone are read and judged here by rules written a second time; the truth beside them must agree."""

import collections
import csv
import datetime
import hashlib
import json
import re
import subprocess

import pytest

from stack import BIN, ROOT

ID_COLUMNS = {"sales.csv": 9, "sale_lines.csv": 8}
MONEY = re.compile(r"-?\d+\.\d\d")


def generate(out, *options):
    done = subprocess.run([BIN / "lens", "--json", "generate", "--out", out, *map(str, options)], text=True,
                          capture_output=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def minor(text):
    return int(text.replace(".", ""))


def time_of(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def date_of(text):
    return datetime.date.fromisoformat(text) if text else None


class Line(collections.namedtuple("Line", "number cells codes readable")):
    """One physical row: its line number, its cells, what is wrong with it, and whether its columns can be told."""


def rows_of(path):
    name = path.name
    for number, raw in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        if number == 1:
            continue
        codes, readable = set(), True
        text = raw.decode("utf-8", errors="replace")
        if "\ufffd" in text:
            codes.add("TEXT_ENCODING")
        if any(ord(c) < 32 for c in text):
            codes.add("TEXT_CONTROL")
        cells = text.split(",")
        if '"' in text:  # no value of these two files needs quotes
            codes.add("CSV_SYNTAX")
            readable = False
        elif len(cells) != ID_COLUMNS[name]:
            codes.add("CSV_COLUMNS")
            readable = False
        elif any(len(cell.encode()) > 1024 for cell in cells):
            codes.add("CSV_LIMIT")
        yield Line(number, cells, codes, readable)


def head_codes(cells):
    codes = set()
    if cells[1] not in ("SALE", "RETURN", "VOID"):
        codes.add("TYPE_UNKNOWN")
    try:
        time_of(cells[3])
    except ValueError:
        codes.add("TIME_SYNTAX")
    return codes


def item_codes(cells):
    codes = set()
    if not re.fullmatch(r"-?\d+", cells[3]):
        codes.add("QUANTITY_SYNTAX")
    for cell in cells[4:7]:
        if not re.fullmatch(r"-?\d+(\.\d+)?", cell):
            codes.add("AMOUNT_SYNTAX")
        elif not MONEY.fullmatch(cell):
            codes.add("AMOUNT_SCALE")
    return codes


class Sale:
    def __init__(self, head, items):
        (self.id, self.type, self.original, when, self.store, self.customer, self.currency, total, self.channel) = head.cells
        self.line = head.number
        self.time = time_of(when)
        self.total = minor(total)
        self.items = [(int(i.cells[1]), i.cells[2], int(i.cells[3]), minor(i.cells[4]), minor(i.cells[5]), minor(i.cells[6]), i.cells[7])
                      for i in items]

    def content(self):
        return (self.id, self.type, self.original, self.time, self.store, self.customer, self.currency, self.total, self.channel,
                tuple(self.items))


def imported(out, dead):
    """What the importer must make of the two files: transactions, and dead rows."""
    groups = {}  # id -> (heads, items), in order of first appearance
    for name, judge, at in (("sales.csv", head_codes, 0), ("sale_lines.csv", item_codes, 1)):
        for row in rows_of(out / name):
            if not row.readable:
                dead["import", name, row.number] = row.codes
                continue
            row = row._replace(codes=row.codes | judge(row.cells))
            groups.setdefault(row.cells[0], ([], []))[at].append(row)
    for heads, items in groups.values():
        codes = set().union(*(row.codes for row in heads + items)) or ({"HEADER_MISSING"} if not heads else set())
        if codes:
            for name, rows in (("sales.csv", heads), ("sale_lines.csv", items)):
                for row in rows:
                    dead["import", name, row.number] = codes
            continue
        blocks = [[]]  # a till that sent again sent all lines again, in order
        for item in items:
            last = blocks[-1][-1] if blocks[-1] else None
            begins = last and (item.number != last.number + 1 or int(item.cells[1]) <= int(last.cells[1]))
            if begins and len(blocks) < len(heads):
                blocks.append([])
            blocks[-1].append(item)
        blocks += [[]] * (len(heads) - len(blocks))
        for head, block in zip(heads, blocks):
            yield Sale(head, block)


class World:
    def __init__(self, out):
        self.stores = {s["store_id"]: (date_of(s["opened"]), date_of(s["closed"])) for s in table(out / "stores.csv")}
        self.stores = {k: v for k, v in self.stores.items() if not (v[1] and v[0] > v[1])}
        self.products = {}
        for p in table(out / "products.csv"):
            if minor(p["unit_price"]) > 0:
                self.products[p["product_id"]] = (p["category"], p["active"] == "true")
        self.customers = {c["customer_id"]: time_of(c["effective_from"]) for c in table(out / "customers.csv")}
        self.promotions = {p["promotion_id"]: (date_of(p["start"]), date_of(p["end"]), set(filter(None, p["product_ids"].split(";"))),
                                               set(filter(None, p["categories"].split(";")))) for p in table(out / "promotions.csv")
                           if p["start"] <= p["end"]}

    def header_codes(self, sale, sane_time):
        codes = set()
        if not sale.store:
            codes.add("STORE_MISSING")
        elif sale.store not in self.stores:
            codes.add("STORE_UNKNOWN")
        elif sane_time:
            opened, closed = self.stores[sale.store]
            if sale.time.date() < opened or (closed and sale.time.date() >= closed):
                codes.add("STORE_CLOSED")
        if sale.customer and (sale.customer not in self.customers or (sane_time and sale.time < self.customers[sale.customer])):
            codes.add("CUSTOMER_UNKNOWN")
        return codes

    def line_codes(self, sale, item, sane_time):
        number, product, quantity, price, discount, amount, promotion = item
        codes = set()
        codes |= {"QUANTITY_NOT_POSITIVE"} if quantity <= 0 else set()
        codes |= {"PRICE_NOT_POSITIVE"} if price <= 0 else set()
        codes |= {"DISCOUNT_NEGATIVE"} if discount < 0 else set()
        codes |= {"AMOUNT_NOT_POSITIVE"} if amount <= 0 else set()
        if quantity * price >= 2**63:
            codes.add("AMOUNT_OVERFLOW")
        elif quantity * price - discount != amount:
            codes.add("LINE_AMOUNT_MISMATCH")
        if not product:
            return codes | {"PRODUCT_MISSING"}
        category, active = self.products.get(product, (None, False))
        if category is None or (sale.type == "SALE" and not active):
            return codes | {"PRODUCT_UNKNOWN"}
        if promotion and promotion not in self.promotions:
            codes.add("PROMOTION_UNKNOWN")
        elif promotion:
            start, end, products, categories = self.promotions[promotion]
            if sane_time and not start <= sale.time.date() <= end:
                codes.add("PROMOTION_INACTIVE")
            if (products or categories) and product not in products and category not in categories:
                codes.add("PROMOTION_PRODUCT")
        return codes

    def codes(self, sale):
        sane_time = 1990 <= sale.time.year < 2100
        codes = self.header_codes(sale, sane_time) | (set() if sale.id else {"TRANSACTION_ID_MISSING"})
        if not sane_time:
            codes.add("TIME_INVALID")
        elif sale.time > datetime.datetime.utcnow() + datetime.timedelta(minutes=5):
            codes.add("TIME_FUTURE")
        if sale.currency != "GBP":
            codes.add("CURRENCY_OTHER" if sale.currency == "SEK" else "CURRENCY_UNKNOWN")
        if sale.type == "VOID" and not sale.original:
            codes.add("ORIGINAL_MISSING")
        if not sale.items and sale.type != "VOID":
            codes.add("LINES_EMPTY")
        for item in sale.items:
            codes |= self.line_codes(sale, item, sane_time)
        if len({item[0] for item in sale.items}) < len(sale.items):
            codes.add("LINE_NO_DUPLICATE")
        if (sale.items or sale.type != "VOID") and sum(item[5] for item in sale.items) != sale.total:
            codes.add("TOTAL_MISMATCH")
        return codes


def products_of(sale):
    sums = collections.Counter()
    for item in sale.items:
        sums[item[1]] += item[5]
    return sums


def credited(sales, dead, warned):
    """customer -> [earned, reversed, net, transactions]; \"\" are the anonymous ones."""
    seen, kept = {}, []
    for sale in sales:
        identity = (sale.type, sale.id)
        if identity not in seen:
            seen[identity] = sale.content()
            kept.append(sale)
        elif seen[identity] != sale.content():
            dead["accrue", "sales.csv", sale.line] = {"DUPLICATE_CONFLICT"}
    origins = {sale.id: sale for sale in kept if sale.type == "SALE"}
    left, given, voided = {}, {}, set()
    accounts = collections.defaultdict(lambda: [0, 0, 0, 0])

    def post(customer, points, net):
        account = accounts[customer]
        points = points if customer else 0
        account[0] += max(points, 0)
        account[1] += max(-points, 0)
        account[2] += net
        account[3] += 1

    for sale in kept:
        if sale.type == "SALE":
            left[sale.id] = products_of(sale)
            given[sale.id] = collections.Counter()
            post(sale.customer, sale.total // 1000, sale.total)
    for back in kept:  # the sum over a sale's returns does not depend on their order
        if back.type == "SALE":
            continue
        if not back.original:
            post(back.customer, -(back.total // 1000), -back.total)
            continue
        sale = origins[back.original]
        if sale.customer != back.customer:
            dead["accrue", "sales.csv", back.line] = {"RETURN_CUSTOMER"}
            continue

        def worth():
            return sum(max(0, sold - given[sale.id][p]) for p, sold in left[sale.id].items()) if sale.id not in voided else 0

        before = worth()
        given[sale.id].update(products_of(back))
        if back.type == "VOID":
            voided.add(sale.id)
        elif any(given[sale.id][p] > left[sale.id][p] for p in products_of(back)):
            warned["sales.csv", back.line] = {"REFUND_EXCESS"}
        post(sale.customer, worth() // 1000 - before // 1000, worth() - before)
    return accounts


def judge(out):
    dead, warned = {}, {}
    world = World(out)
    good = []
    for sale in imported(out, dead):
        codes = world.codes(sale)
        if codes:
            dead["validate", "sales.csv", sale.line] = codes
        else:
            good.append(sale)
    return credited(good, dead, warned), dead, warned


@pytest.mark.parametrize("seed,options", [(1, ()), (7, ("--defects", "20", "--returns", "15", "--duplicates", "5")),
                                          (3, ("--customers", "40", "--defects", "3%", "--days", "40", "--returns", "30")),
                                          (9, ("--sales", "300", "--defects", "0"))])
def test_truth_is_what_the_files_say(tmp_path, seed, options):
    generate(tmp_path, "--seed", seed, "--sales", "6000", *options)
    accounts, dead, warned = judge(tmp_path)
    told = {c["customer_id"]: [int(c[k]) for k in ("points_earned", "points_reversed", "net_minor", "transactions")]
            for c in table(tmp_path / "truth" / "customers.csv")}
    summary = json.loads((tmp_path / "truth" / "summary.json").read_text())
    anonymous = accounts.pop("", [0, 0, 0, 0])
    assert dict(accounts) == told
    assert summary["points_balance"] == sum(a[0] - a[1] for a in accounts.values())
    assert summary["net_minor"] == sum(a[2] for a in accounts.values()) + anonymous[2]
    assert (summary["unidentified_transactions"], summary["unidentified_net_minor"]) == (anonymous[3], anonymous[2])
    labels = [row for row in table(tmp_path / "truth" / "defects.csv") if row["file"] in ID_COLUMNS]
    told_dead = {(r["stage"], r["file"], int(r["line"])): set(r["codes"].split(",")) for r in labels if r["severity"] == "reject"}
    told_warned = {(r["file"], int(r["line"])): set(r["codes"].split(",")) for r in labels if r["severity"] == "warn"}
    assert told_dead == dead
    assert told_warned == warned


def test_references_have_integrity(tmp_path):
    """What no defect is planted on refers to nothing that is not there."""
    generate(tmp_path, "--seed", "5", "--defects", "0", "--sales", "3000")
    _, dead, _ = judge(tmp_path)
    assert not dead
    heads = table(tmp_path / "sales.csv")
    ids = {h["transaction_id"] for h in heads}
    assert {i["transaction_id"] for i in table(tmp_path / "sale_lines.csv")} <= ids
    assert {h["original_transaction_id"] for h in heads} - {""} <= ids


def test_every_way_of_going_wrong_comes_up(tmp_path):
    generate(tmp_path, "--seed", "2", "--defects", "10", "--sales", "4000")
    told = {row["defect"] for row in table(tmp_path / "truth" / "defects.csv")}
    assert len(told) >= 40, told
    by_code = json.loads((tmp_path / "truth" / "summary.json").read_text())["by_code"]
    assert {"CSV_SYNTAX", "HEADER_MISSING", "TOTAL_MISMATCH", "PROMOTION_PRODUCT", "DUPLICATE_CONFLICT", "RETURN_CUSTOMER",
            "REFUND_EXCESS", "EMAIL_IMPLAUSIBLE"} <= set(by_code)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    def digest(name, seed):
        generate(tmp_path / name, "--seed", seed, "--sales", "500")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return [(str(path.relative_to(tmp_path / name)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    assert digest("a", 11) == digest("b", 11)
    assert digest("a", 11) != digest("c", 12)


@pytest.mark.parametrize("options", [("--days", "0"), ("--defects", "101"), ("--defects", "1.234"), ("--start", "2026-02-30"),
                                     ("--rate", "5"), ("--sales", "-1"), ("--seed", "x"), ("--products", "3"), ("more",), ("--nothing",)])
def test_nonsense_is_usage(tmp_path, options):
    done = subprocess.run([BIN / "lens", "generate", "--out", tmp_path, *options], text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("lens generate: ")


def test_a_directory_that_cannot_be_is_said():
    done = subprocess.run([BIN / "lens", "generate", "--out", "/dev/null/x"], text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 1 and "/dev/null" in done.stderr
