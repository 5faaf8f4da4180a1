"""`lens verify` on a line that was tampered with: each lie is found, named, and ends in exit code 3."""

import json
import subprocess

import pytest

from fresh import fresh_stack, stack  # noqa: F401 - a fixture
from stack import BIN, ROOT, wait_for


@pytest.fixture(scope="module")
def line(stack, tmp_path_factory):
    out = tmp_path_factory.mktemp("generated")
    stack.lens("generate", "--out", out, "--seed", "7", "--sales", "1500", "--customers", "200", "--defects", "4")
    stack.lens("import", "header_lines", out)
    stack.lens("wait", "--timeout", "240")
    assert stack.lens("verify")["ok"]
    return stack


def verify(stack):
    """(exit code, check -> what is said of it) of the checks that found something."""
    done = stack.run("--json", "verify")
    checks = json.loads(done.stdout)["checks"] if done.stdout.strip() else []
    return done.returncode, {check["check"]: check for check in checks if check["different"] > 0}


def tamper(stack, *statements):
    """Changes rows as only a superuser can: past the triggers that refuse it."""
    connection = stack.postgres()
    try:
        with connection.cursor() as cursor:
            cursor.execute("set session_replication_role = replica")
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def kept(line):
    """The tables as they were, put back afterwards. Accrue rests meanwhile, since it would notice too."""
    tamper(line, "drop schema if exists kept cascade", "create schema kept",
           *(f"create table kept.{table} as table loyalty.{table}" for table in ("postings", "accounts", "dead")))
    yield line
    tamper(line, *(statement for table in ("postings", "accounts", "dead") for statement in
                   (f"delete from loyalty.{table}", f"insert into loyalty.{table} select * from kept.{table}")),
           "drop schema kept cascade")
    code, found = verify(line)
    assert code == 0, found


def one_sale(stack):
    """A sale with points, of a customer."""
    return stack.query("select partition, \"offset\", seq, customer_id, transaction_id, points from loyalty.postings"
                       " where type = 'S' and points > 5 and customer_id is not null"
                       " and identity_hash not in (select sale_hash from loyalty.postings where sale_hash is not null)"
                       " order by partition, \"offset\" limit 1")[0]


def test_the_ledger_refuses_to_be_changed(line):
    import psycopg2

    partition, offset, seq, *_ = one_sale(line)
    where = f"partition = {partition} and \"offset\" = {offset} and seq = {seq}"
    for statement in (f"update loyalty.postings set points = points + 1 where {where}",
                      f"delete from loyalty.postings where {where}", "truncate loyalty.postings"):
        with pytest.raises(psycopg2.Error, match="never changed"):
            line.query(statement)


def test_a_missing_row_is_named(kept):
    partition, offset, seq, customer_id, transaction_id, points = one_sale(kept)
    tamper(kept, f"delete from loyalty.postings where partition = {partition} and \"offset\" = {offset} and seq = {seq}")
    code, found = verify(kept)
    assert code == 3
    assert found["fold"]["different"] == 1
    assert transaction_id in found["fold"]["first"] and f"{points} points" in found["fold"]["first"]
    assert "missing in the ledger" in found["fold"]["first"]
    assert customer_id in found["accounts"]["first"]
    assert "counts" in found
    text = kept.run("verify")
    assert text.returncode == 3 and f"lens ledger {transaction_id}" in text.stdout


def test_a_changed_amount_is_named(kept):
    partition, offset, seq, customer_id, transaction_id, points = one_sale(kept)
    tamper(kept, "update loyalty.postings set points = points + 100, rules = '1:' || points + 100"
                 f" where partition = {partition} and \"offset\" = {offset} and seq = {seq}",
           f"update loyalty.accounts set points_balance = points_balance + 100, points_earned = points_earned + 100"
           f" where customer_id = '{customer_id}'")
    code, found = verify(kept)
    assert code == 3
    assert f"points is {points + 100} in the ledger, {points} by the fold" in found["fold"]["first"]
    assert f"posted {points + 100} points" in found["sales"]["first"] and f"worth {points}" in found["sales"]["first"]
    assert "redis" in found and "accounts" not in found


def test_a_row_that_nobody_sent_is_named(kept):
    partition, offset, seq, *_ = one_sale(kept)
    tamper(kept, "create temporary table row as select * from loyalty.postings"
                 f" where partition = {partition} and \"offset\" = {offset} and seq = {seq}",
           "update row set seq = 99, transaction_id = E'FORGED\\x1b[31m'",
           "insert into loyalty.postings select * from row")
    done = kept.run("verify")
    assert done.returncode == 3
    assert "the log gives no such row" in done.stdout
    assert "FORGED\\x1b[31m" in done.stdout and "\x1b" not in done.stdout, "what others wrote stays inert"


def test_a_changed_account_is_named(kept):
    customer_id = one_sale(kept)[3]
    tamper(kept, f"update loyalty.accounts set points_reversed = points_reversed + 1 where customer_id = '{customer_id}'")
    code, found = verify(kept)
    assert code == 3 and set(found) == {"accounts"}
    assert customer_id in found["accounts"]["first"]


def test_a_lost_refusal_is_named(kept):
    offsets = tamper(kept, "delete from loyalty.dead where (partition, \"offset\", seq) ="
                           " (select partition, \"offset\", seq from loyalty.dead order by 1, 2, 3 limit 1)"
                           " returning event_offset")
    assert offsets, "the generator plants refusals of accrue"
    code, found = verify(kept)
    assert code == 3
    assert {"counts", "fold: the rest"} <= set(found)


def test_a_balance_that_redis_invents_is_named(line):
    redis = line.redis()
    partition, _, _, customer_id, *_ = one_sale(line)
    key = f"ll:{{r1.p{partition}}}:balance"
    before = redis.hget(key, customer_id)
    for value in (str(int(before) + 1000), None):
        redis.hset(key, customer_id, value) if value else redis.hdel(key, customer_id)
        code, found = verify(line)
        assert code == 3 and set(found) == {"redis"}
        assert customer_id in found["redis"]["first"] and before in found["redis"]["first"]
        customer = line.run("customer", customer_id)
        assert customer.returncode == 3
        redis.hset(key, customer_id, before)
    redis.hset(key, "nobody", "5")
    code, found = verify(line)
    assert code == 3 and "nobody" in found["redis"]["first"]
    redis.hdel(key, "nobody")
    assert verify(line)[0] == 0


def test_a_row_written_past_validate_is_named(home):
    """A record that validate never decided, put onto transactions.valid by another producer."""
    home.up()
    nothing = home.lens("verify")
    assert nothing["ok"]
    notes = {check["check"]: check["note"] for check in nothing["checks"]}
    assert "has not taken in anything yet" in notes["standing"] and "has not taken in anything yet" in notes["letters"]
    home.lens("bench", "load", "--events", "1", "--valid")
    wait_for("the record is credited", lambda: home.lens("report")["transactions"] == 1)
    code, found = verify(home)
    assert code == 3 and set(found) == {"conservation"}
    assert "no such raw record" in found["conservation"]["first"]


def test_it_works_while_the_line_runs(line, tmp_path):
    producing = subprocess.Popen([BIN / "lens", "generate", "--topics", "--out", tmp_path, "--seed", "8", "--sales", "20000",
                                  "--rate", "4000"], env=line.environment(), cwd=ROOT, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
    looks = 0
    try:
        while producing.poll() is None or looks < 3:
            code, found = verify(line)
            assert code == 0, found
            looks += 1
    finally:
        assert producing.wait(120) == 0
    line.lens("wait", "--timeout", "240")
    assert verify(line)[0] == 0


# ---- standing and letters ----

CLOSED = """
validate: { tick_ms = 500; };
relay: { tick_ms = 500; };
segment: { clock = "event"; quiet_ms = 3000; };
notify: { delay_ms = 100; };
"""
STANDING = ("segments.customer_standing", "segments.thresholds", "segments.changes", "mail.letters", "mail.accounts")


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A line whose last day is closed, so that all of everybody's standing can be compared."""
    out = tmp_path_factory.mktemp("closed")
    with fresh_stack(CLOSED) as one:
        one.lens("generate", "--out", out, "--seed", "9", "--sales", "1500", "--customers", "150", "--returns", "10")
        one.lens("import", "header_lines", out)
        one.lens("wait", "--timeout", "240")
        one.lens("segments", "wait", "--timeout", "120")
        wait_for("the letters are noted", lambda: one.query(
            "select (select sum(points_balance) from loyalty.accounts) = (select sum(balance) from mail.accounts) and"
            " (select count(*) from segments.changes) = (select sum(sequence) from (select max(sequence) as sequence from mail.standing"
            " group by customer_id) as last)")[0][0], 60)
        done = one.lens("verify")
        assert done["ok"]
        compared = {check["check"]: check["compared"] for check in done["checks"]}
        assert all(compared[name] > 0 for name in ("standing", "standing: epoch", "standing: changes", "standing: topic", "letters",
                                                   "letters: balances")), compared
        assert not any(check["note"] for check in done["checks"] if check["check"].startswith(("standing", "letters")))
        yield one


@pytest.fixture
def lied_to(closed):
    tamper(closed, "drop schema if exists kept cascade", "create schema kept",
           *(f"create table kept.{table.split('.')[1]} as table {table}" for table in STANDING))
    yield closed
    tamper(closed, *(statement for table in STANDING for statement in
                     (f"delete from {table}", f"insert into {table} select * from kept.{table.split('.')[1]}")),
           "drop schema kept cascade")
    code, found = verify(closed)
    assert code == 0, found


@pytest.mark.parametrize("column, value, words", [
    ("monetary_minor", "monetary_minor + 7", "spend"), ("frequency", "frequency + 1", "frequency"),
    ("points_balance", "points_balance - 1", "balance"), ("at_risk", "not at_risk", "at risk"),
    ("high_spender", "not high_spender", "high spender"), ("r", "r % 5 + 1", "r"), ("clv_potential", "clv_potential + 1", "potential"),
    ("tier", "'GOLD!'", "tier")])
def test_a_changed_standing_is_named(lied_to, column, value, words):
    [(customer_id, before)] = lied_to.query(f"select customer_id, {column} from segments.customer_standing order by customer_id limit 1")
    [(after,)] = tamper(lied_to, f"update segments.customer_standing set {column} = {value} where customer_id = '{customer_id}'"
                                 f" returning {column}")
    code, found = verify(lied_to)
    after, before = (str(value).lower() if isinstance(value, bool) else value for value in (after, before))
    assert code == 3 and found["standing"]["different"] == 1
    assert f"customer {customer_id}: {words} is {after}, by batch {before}" in found["standing"]["first"]
    assert set(found) <= {"standing", "standing: changes"}


def test_a_missing_and_an_invented_standing_are_named(lied_to):
    [(customer_id,)] = tamper(lied_to, "update segments.customer_standing set customer_id = 'nobody' where customer_id ="
                                       " (select max(customer_id) from segments.customer_standing) returning"
                                       " (select max(customer_id) from segments.customer_standing)")
    code, found = verify(lied_to)
    assert code == 3 and found["standing"]["different"] == 2
    assert f"customer {customer_id} has rows and no standing" in found["standing"]["first"] or "nobody" in found["standing"]["first"]


@pytest.mark.parametrize("column, words", [("threshold_minor", "threshold"), ("members", "members"), ("median_balance", "median balance"),
                                           ("base", "base")])
def test_a_changed_threshold_is_named(lied_to, column, words):
    [(value,)] = tamper(lied_to, f"update segments.thresholds set {column} = {column} + 1 where version ="
                                 f" (select max(version) from segments.thresholds) returning {column}")
    code, found = verify(lied_to)
    assert code == 3 and f"{words} is {value}, by batch {value - 1}" in found["standing: epoch"]["first"]


def test_a_lost_change_is_named(lied_to):
    [(number, customer_id)] = tamper(lied_to, "delete from segments.changes where change_no = (select max(change_no) / 2 from"
                                              " segments.changes) returning change_no, customer_id")
    code, found = verify(lied_to)
    assert code == 3 and {"standing: changes", "standing: topic"} <= set(found)
    assert "the next one is to be" in found["standing: changes"]["first"]
    assert found["standing: changes"]["different"] >= 2, "the customer's own count differs too"
    assert found["standing: topic"]["different"] == 1, "the topic still has it"


def test_a_change_that_says_otherwise_is_named(lied_to):
    [(customer_id, segment)] = tamper(lied_to, "update segments.changes set kind = 'EXITED' where change_no = (select min(change_no) from"
                                               " segments.changes) returning customer_id, segment")
    code, found = verify(lied_to)
    assert code == 3 and "standing: changes" in found
    assert f"customer {customer_id}: EXITED {segment}" in found["standing: changes"]["first"]


def test_a_change_that_never_reached_the_topic_is_named(lied_to):
    tamper(lied_to, "update segments.changes set change_id = repeat('f', 32) where change_no = 1")
    code, found = verify(lied_to)
    assert code == 3 and "change 1 of customer" in found["standing: topic"]["first"]


def test_a_lost_letter_is_named(lied_to):
    for about in ("SALE|", "change|"):
        [(customer_id, transition)] = tamper(
            lied_to, "delete from mail.letters where letter_id = (select letter_id from mail.letters l"
                     " left join loyalty.postings p on l.transition = 'SALE|' || p.source || '|' || p.transaction_id"
                     " left join segments.changes c on l.transition = 'change|' || c.change_id"
                     f" where l.transition like '{about}%' order by abs(p.\"offset\" - (select max(\"offset\") / 2 from loyalty.postings)),"
                     " abs(c.change_no - (select max(change_no) / 2 from segments.changes)) limit 1) returning customer_id, transition")
        code, found = verify(lied_to)
        assert code == 3 and set(found) == {"letters"}
        assert f"customer {customer_id}: " in found["letters"]["first"] and "has no letter" in found["letters"]["first"]
        tamper(lied_to, f"insert into mail.letters select * from kept.letters where transition = '{transition}' and"
                        f" customer_id = '{customer_id}'")


def test_a_letter_without_cause_and_one_under_another_id_are_named(lied_to):
    tamper(lied_to, "create temporary table letter as select * from mail.letters where transition like 'SALE|%' limit 1",
           "update letter set transition = transition || '-forged', letter_id = mail.id(1, customer_id, letter, transition || '-forged')",
           "insert into mail.letters select * from letter")
    code, found = verify(lied_to)
    assert code == 3 and set(found) == {"letters"} and "-forged, which never was" in found["letters"]["first"]
    tamper(lied_to, "delete from mail.letters where transition like '%-forged'",
           "create temporary table letter as select * from mail.letters limit 1", "update letter set letter_id = repeat('0', 32)",
           "insert into mail.letters select * from letter")
    code, found = verify(lied_to)
    assert code == 3 and f"letter {'0' * 32}" in found["letters"]["first"], "the same letter twice"


def test_a_balance_in_letters_that_is_not_the_ledgers_is_named(lied_to):
    [(customer_id, balance)] = tamper(lied_to, "update mail.accounts set balance = balance + 5 where customer_id = (select min(customer_id)"
                                               " from mail.accounts) returning customer_id, balance")
    code, found = verify(lied_to)
    assert code == 3 and set(found) == {"letters: balances"}
    assert f"customer {customer_id}: letters name {balance}" in found["letters: balances"]["first"]
