"""Letters at the end of the whole line: every posting and every change of standing has its letter, and balances are the ledger's."""

import datetime

from fresh import stack  # noqa: F401 - a fixture
from mail_kit import id_of, parse, text_of
from stack import wait_for

SETTINGS = "notify: { delay_ms = 300; rate = 10000; age_ms = 864000000L; };\n"


def everything_is_decided(stack) -> bool:  # noqa: F811
    ledger, taken = stack.query("""
        select (select count(*) from loyalty.postings where customer_id is not null and points <> 0)::int,
               (select count(*) from mail.letters where letter like 'points%%')::int""")[0]
    waiting = stack.query("select count(*)::int from mail.letters where state in ('waiting', 'claimed', 'sending') and"
                          " coalesce(reason, '') <> 'QUIET_HOURS'")[0][0]
    return ledger > 0 and ledger == taken and waiting == 0


def all_is_taken(stack) -> None:  # noqa: F811
    """Segment has seen the whole ledger, and notify that and every change of segment."""
    for name in ("segment", "notify"):
        wait_for(f"{name} has taken all", lambda name=name: stack.service(name).get("lag") == 0, 120, 0.3)


def sent_with_files(stack) -> tuple:  # noqa: F811
    """The letters that are sent and the files, which are the same: read until they are, since a letter may go out in between."""
    def ask():
        sent = {letter["id"]: letter for letter in stack.lens("mail", "list", "--state", "sent", "--limit", "100000")["letters"]}
        files = {path.stem: path for path in (stack.home / "mail").glob("*.eml")}
        assert set(files) == set(sent), f"of {len(sent)} sent and {len(files)} files only one has {sorted(set(files) ^ set(sent))[:5]}"
        return sent, files

    return wait_for("what is sent lies there, and nothing else", ask, 60, 0.5)


def test_every_posting_has_its_letter_and_every_letter_its_posting(stack, tmp_path):  # noqa: F811
    start = datetime.date.today() - datetime.timedelta(days=4)
    stack.configure(SETTINGS)
    stack.lens("up")  # restarts what reads the changed settings
    stack.lens("generate", "--out", tmp_path, "--seed", "5", "--days", "4", "--start", start.isoformat(), "--customers", "300", "--products",
               "40", "--sales", "600", "--returns", "15", "--duplicates", "5", "--topics")
    stack.lens("wait", "--timeout", "240")
    wait_for("every letter is decided", lambda: everything_is_decided(stack), 120, 0.5)
    wrong = stack.query("""
        with postings as (
            select customer_id, points,
                   case type when 'S' then 'SALE' when 'R' then 'RETURN' else 'VOID' end || '|' || source || '|' || transaction_id as about
              from loyalty.postings where customer_id is not null and points <> 0),
             letters as (select customer_id, points, transition as about from mail.letters where letter like 'points%%')
        (select 'no letter', * from (table postings except all table letters) a)
        union all (select 'no posting', * from (table letters except all table postings) b) limit 5""")
    assert wrong == []
    assert stack.query("""
        select count(*)::int from loyalty.accounts a full join mail.accounts m using (run_id, customer_id)
         where coalesce(a.points_balance, 0) <> coalesce(m.balance, 0)""") == [(0,)]
    all_is_taken(stack)
    sent, files = sent_with_files(stack)
    assert len(files) > 100
    for name, path in files.items():
        message = parse(path.read_bytes())
        assert id_of(message) == name and message["To"].addresses[0].addr_spec == sent[name]["address"]
    # What was taken back before its letter went has none.
    untrue = stack.query("select count(*)::int from mail.letters where reason = 'NOT_TRUE' and letter = 'points_earned'"
                         " and points + reversed > 0")
    assert untrue == [(0,)]
    shown = stack.lens("mail", "show", next(iter(sent)))
    assert shown["text"].split() == text_of(parse(shown["message"].encode())).split()


def test_every_change_of_standing_that_has_a_letter_got_one(stack):  # noqa: F811
    all_is_taken(stack)
    changed = stack.query("""
        select count(*)::int from mail.standing""")[0][0]
    assert changed > 0, "no change of segment came through"
    kinds = {row["letter"] for row in stack.lens("mail", "list", "--limit", "0")["counts"]}
    assert kinds & {"tier", "segment", "high_spender", "at_risk"}, kinds
    assert stack.query("select count(*)::int from mail.letters where class = 'marketing' and state = 'sent' and customer_id in"
                       " (select customer_id from mail.recipients where not consent)") == [(0,)]
    most = stack.query("select coalesce(max(n), 0)::int from (select count(*) as n from mail.letters where class = 'marketing' and"
                       " state = 'sent' group by customer_id) c")
    assert most[0][0] <= 2


def test_lens_says_what_became_of_a_letter(stack):  # noqa: F811
    listed = stack.lens("mail", "list", "--limit", "5")
    assert len(listed["letters"]) == 5 and sum(row["count"] for row in listed["counts"]) >= 5
    text = stack.run("mail", "list", "--limit", "3").stdout
    assert "CUSTOMER" in text and "all of them:" in text
    letter = listed["letters"][0]
    why = stack.run("mail", "why", letter["id"][:12])
    assert why.returncode == 0 and "NOTED" in why.stdout and letter["reason"] in why.stdout
    for args, code in ((("show", "zz"), 2), (("show", "0" * 32), 1), (("sing",), 2), ((), 2), (("list", "--limit", "x"), 2),
                       (("unsubscribe", "nonsense"), 1)):
        assert stack.run("mail", *args).returncode == code, args
    wait_for("notify has taken all", lambda: stack.service("notify").get("lag") == 0)
