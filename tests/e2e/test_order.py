"""Balances are a function of the set of events: five random orders of it, with random duplicates, in batches of other sizes."""

import random
import zlib

import figures
import pytest
from ledger_topic import read_topic
from raw_events import Till, decode, encode, key_of

# validate: records in a transaction; accrue: records in a Redis call, ms and records between commits.
BATCHES = [(20000, 8192, 1000, 400000), (10, 1, 10, 1), (17, 3, 20, 11), (64, 500, 100, 97), (1000, 16, 300, 1000)]
NAMES = "abcde"  # no identity of the generator's begins so
RULES = """name = "Of many kinds"; effective_from = "always";
rules = (
    { id = 1; name = "base"; group = "base"; points = 1; per_minor = 1000; },
    { id = 2; name = "weekend"; group = "base"; priority = 10; points = 1; per_minor = 700; multiplier = "3/2"; weekdays = ["sat", "sun"]; },
    { id = 3; name = "big basket"; group = "basket"; threshold_minor = 10000; bonus = 50; },
    { id = 4; name = "capped"; group = "campaign"; points = 3; per_minor = 500; cap = 40; }
);
"""


def settings(validate_events, redis_events, flush_ms, flush_events):
    return (f"validate: {{ batch_events = {validate_events}; }};\n"
            f"accrue: {{ batch_events = {redis_events}; flush_ms = {flush_ms}; flush_events = {flush_events}; }};\n")


def renamed(event: dict, name: str) -> dict:
    """The same event of another world: every identity that the ledger keeps has the order's letter before it."""
    mine = {key: name + event[key] for key in ("transaction_id", "original_transaction_id", "customer_id") if event[key] is not None}
    return {**event, **mine, "source": "online_retail"}


def accounts(stack, name: str) -> bytes:
    rows = stack.query("""
        select substr(customer_id, 2), points_balance, points_earned - points_reversed, net_minor, postings,
               extract(epoch from last_event_at)::int8
          from loyalty.accounts where customer_id like %s """, name + "%")
    return "\n".join(sorted(map(repr, rows))).encode()


def sales(stack, name: str) -> bytes:
    rows = stack.query("""
        select substr(coalesce(sale_id, transaction_id), 2), substr(customer_id, 2), sum(points)::int8, sum(net_minor)::int8,
               count(*), min(sale_day)::text
          from loyalty.ledger
         where coalesce(sale_id, transaction_id) like %s group by 1, 2 """, name + "%")
    return "\n".join(sorted(map(repr, rows))).encode()


@pytest.fixture
def events(home, tmp_path):
    """Sales, returns before and after each other, voids and refunds above the sale, as `lens generate` makes them."""
    home.configure(settings(*BATCHES[0]))
    home.up()
    rules = tmp_path / "rules.conf"
    rules.write_text(RULES)
    home.lens("rules", "publish", rules, "--yes")
    home.lens("generate", "--topics", "--out", tmp_path, "--seed", "77", "--sales", "1500", "--customers", "150", "--defects", "0",
              "--returns", "30", "--duplicates", "0")
    home.lens("wait", "--timeout", "120")
    found = [decode("transaction", message.value()) for message in read_topic(home, "transactions")]
    kinds = {kind: sum(event["event_type"] == kind for event in found) for kind in ("SALE", "RETURN", "VOID")}
    assert kinds["SALE"] >= 1500 and kinds["RETURN"] > 300 and kinds["VOID"] >= 5, kinds
    return found


def test_order_duplicates_and_batches_change_nothing(home, events):
    dice = random.Random(20261121)
    for name, batches in zip(NAMES, BATCHES):
        home.configure(settings(*batches))
        home.up()  # restarts what reads the configuration
        order = [renamed(event, name) for event in events]
        order += dice.choices(order, k=len(order) // 3)
        dice.shuffle(order)
        till = Till(home, **{"linger.ms": dice.choice([0, 1, 50]), "batch.num.messages": dice.choice([1, 10, 10000])})
        for event in order:
            till.put_bytes("transactions", key_of(event).encode(), encode("transaction", event))
        till.flush()
        home.lens("wait", "--timeout", "240")
    first_accounts, first_sales = accounts(home, NAMES[0]), sales(home, NAMES[0])
    assert first_accounts.count(b"\n") > 100 and first_sales.count(b"\n") >= 1400
    for name in NAMES[1:]:
        assert accounts(home, name) == first_accounts, f"order {name}: other accounts"
        assert sales(home, name) == first_sales, f"order {name}: other points of a sale"
    print(f"accounts {len(first_accounts)} bytes, crc {zlib.crc32(first_accounts):08x}; sales {len(first_sales)} bytes, "
          f"crc {zlib.crc32(first_sales):08x}: alike in {len(NAMES)} orders")
    balances = figures.redis_balances(home)
    assert all(balances[name + customer[1:]] == points for customer, points in balances.items() if customer[0] == NAMES[0]
               for name in NAMES[1:])
    report = home.lens("report")
    assert report["held"] == 0 and report["duplicates"] == len(NAMES) * (len(events) // 3)
    assert home.lens("verify")["ok"]
