"""`lens verify` on a line that was tampered with: each lie is found, named, and ends in exit code 3."""

import json
import subprocess

import pytest

from fresh import stack  # noqa: F401 - a fixture
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
    assert home.lens("verify")["ok"]
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
