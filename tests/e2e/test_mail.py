"""Letters on a real mail server: every outcome that SMTP has, what may not go and why, and bytes that nobody can turn into a command."""

import contextlib
import subprocess
import time

import pytest

import conftest
from mail_kit import (Line, Notify, Server, html_of, id_of, now_ms, parse, password_is, text_of, tls_context, tls_files, token_of,
                      token_payload)
from stack import BIN, Stack, wait_for

DAY_MS = 86400000
UNDECIDED = ("waiting", "claimed", "sending")


@contextlib.contextmanager
def _bare_stack():
    stack = Stack(conftest._new_home())
    try:
        stack.up("--no-processes")
        yield stack
    finally:
        conftest._finish(stack)


@pytest.fixture(scope="module")
def bare():
    """Kafka, Redis and Postgres; no process of ours. Every test has customers of its own."""
    with _bare_stack() as stack:
        stack.line = Line(stack)
        yield stack


@pytest.fixture
def server():
    server = Server().start()
    yield server
    server.stop()


def smtp(server, more="", timeout_ms=10000) -> str:
    """A server that stalls for less than the time-out loses no letter."""
    return (f'delivery = "smtp"; smtp_host = "127.0.0.1"; smtp_port = {server.port}; smtp_tls = "none"; '
            f'smtp_timeout_ms = {timeout_ms}; {more}')


def hold_what_is_open(stack) -> None:
    """The next test's server gets no letter of this one."""
    stack.query("update mail.letters set state = 'held', reason = 'END_OF_TEST' where state = any(%s) returning letter_id",
                list(UNDECIDED))


@contextlib.contextmanager
def running(stack, settings):
    notify = Notify(stack, settings).start()
    try:
        yield notify
        notify.stop()
    finally:
        notify.kill()
        hold_what_is_open(stack)


def decided(notify, customer, count) -> list:
    """The customer's letters, once there are so many and it is settled what becomes of each."""
    def ask():
        letters = notify.letters(customer=customer)
        return letters if len(letters) == count and all(letter["state"] not in UNDECIDED for letter in letters) else None

    return wait_for(f"the {count} letters of {customer} are decided", ask)


def sale(stack, customer, address, points=7, name="Ada", **options):
    stack.line.customer(customer, address, name, **options)
    stack.line.flush()
    stack.line.posting(customer, f"T-{customer}", points)
    stack.line.flush()


# ---- outcomes ----

def test_a_letter_that_is_taken_arrives_once_and_says_what_happened(bare, server):
    sale(bare, "ok", "ok@mail.example", 12, "Ada Lovelace")
    with running(bare, smtp(server)) as notify:
        letter = notify.wait("ok", "sent", "SENT")
    (data,) = server.box.messages["ok@mail.example"]
    message = parse(data)
    assert message["To"].addresses[0].display_name == "Ada Lovelace" and "12 points" in message["Subject"]
    assert "brought you 12 points" in text_of(message) and "balance is 12 points" in text_of(message)
    assert "120.00 GBP" in html_of(message)
    assert id_of(message) == letter["id"] and letter["attempts"] == 1 and "250 2.0.0 taken" in letter["reply"]
    assert token_payload(token_of(message)) == b"1|points|ok"


@pytest.mark.parametrize("word", ["rcpt4-2", "data4-2"])
def test_put_off_is_tried_again_later_and_arrives_once(bare, server, word):
    sale(bare, word, f"{word}@mail.example")
    with running(bare, smtp(server)) as notify:
        letter = notify.wait(word, "sent")
        why = [step["reason"] for step in bare.lens("mail", "why", letter["id"])["decisions"]]
    assert letter["attempts"] == 3
    assert why == ["NOTED", "OK", "PUT_OFF", "OK", "PUT_OFF", "OK", "SENT"]
    assert len(server.box.messages[f"{word}@mail.example"]) == 1


def test_put_off_too_often_is_given_up_and_the_address_stays_good(bare, server):
    sale(bare, "busy", "rcpt4-99@mail.example")
    with running(bare, smtp(server, "attempts = 3;")) as notify:
        letter = notify.wait("busy", "dead", "GAVE_UP")
    assert letter["attempts"] == 3 and "450 4.2.1" in letter["reply"]
    assert bare.query("select count(*)::int from mail.suppressed where address like 'rcpt4-99%%'") == [(0,)]


@pytest.mark.parametrize("word", ["rcpt5", "data5"])
def test_refused_for_good_is_dead_and_nothing_goes_to_that_address_again(bare, server, word):
    sale(bare, word, f"{word}@mail.example")
    with running(bare, smtp(server)) as notify:
        letter = notify.wait(word, "dead", "REFUSED")
        bare.line.customer(f"{word}-2", f"{word.upper()}@mail.example", "Bob")  # the same mailbox by another customer's hand
        bare.line.flush()
        bare.line.posting(f"{word}-2", f"T-{word}-2", 5)
        bare.line.flush()
        second = notify.wait(f"{word}-2", "held", "BOUNCED")
    assert letter["attempts"] == 1 and letter["reply"].split(": ")[1][:1] == "5" and second["attempts"] == 0
    assert server.box.recipients == [f"{word}@mail.example"]


# The silent server says nothing for longer than that.
TIMEOUT_MS = {"drop": 10000, "silent": 2000}


@pytest.mark.parametrize("word", ["drop", "silent"])
def test_lost_after_the_text_is_unknown_and_waits_for_an_operator(bare, server, word):
    sale(bare, f"{word}-hold", f"{word}@mail.example")
    with running(bare, smtp(server, timeout_ms=TIMEOUT_MS[word])) as notify:
        letter = notify.wait(f"{word}-hold", "unknown", "LOST")
        time.sleep(1)
        assert len(server.box.messages[f"{word}@mail.example"]) == 1  # it did arrive
        bare.lens("mail", "retry", letter["id"][:12])
        notify.wait(f"{word}-hold", "sent")
    first, second = map(parse, server.box.messages[f"{word}@mail.example"])
    assert first["Message-ID"] == second["Message-ID"] and id_of(first) == letter["id"]


@pytest.mark.parametrize("word", ["drop", "silent"])
def test_lost_after_the_text_is_sent_again_under_the_same_id_where_that_is_wanted(bare, server, word):
    sale(bare, f"{word}-resend", f"{word}@mail.example")
    with running(bare, smtp(server, 'unknown = "resend";', TIMEOUT_MS[word])) as notify:
        notify.wait(f"{word}-resend", "sent")
    first, second = map(parse, server.box.messages[f"{word}@mail.example"])
    assert first["Message-ID"] == second["Message-ID"]


def test_no_connection_is_no_letters_fault(bare):
    server = Server()  # nobody listens
    sale(bare, "nobody", "nobody@mail.example")
    with running(bare, smtp(server)) as notify:
        letter = notify.wait("nobody", "waiting", "NO_CONNECTION")
        assert letter["attempts"] == 0
        server.start()
        try:
            letter = notify.wait("nobody", "sent", timeout_s=90)
        finally:
            server.stop()
    assert letter["attempts"] == 1 and len(server.box.messages["nobody@mail.example"]) == 1


# ---- encryption ----

def test_starttls_and_a_password_from_a_file(bare, tmp_path):
    cert, key = tls_files(tmp_path)
    (tmp_path / "password").write_text("open sesame\n")
    (tmp_path / "password").chmod(0o600)  # a secret that others can read is refused
    server = Server(tls_context=tls_context(cert, key), require_starttls=True, auth_required=True,
                    authenticator=password_is(b"lens", b"open sesame")).start()
    settings = smtp(server).replace('"none"', '"starttls"').replace("127.0.0.1", "localhost")
    settings += f'smtp_ca_file = "{cert}"; smtp_username = "lens"; smtp_password_file = "{tmp_path}/password";'
    try:
        sale(bare, "tls", "tls@mail.example")
        with running(bare, settings) as notify:
            notify.wait("tls", "sent")
        assert len(server.box.messages["tls@mail.example"]) == 1
        (tmp_path / "password").write_text("open barley\n")
        sale(bare, "tls-wrong", "tls-wrong@mail.example")
        with running(bare, settings) as notify:
            letter = notify.wait("tls-wrong", "waiting", "NO_CONNECTION")
        assert "535" in letter["reply"] and "barley" not in letter["reply"] + notify.log() and letter["attempts"] == 0
        assert bare.query("select count(*)::int from mail.suppressed where address = 'tls-wrong@mail.example'") == [(0,)]
        notify.configure(settings.replace(f'smtp_ca_file = "{cert}";', ""))  # nobody vouches for this server
        (tmp_path / "password").write_text("open sesame\n")
        sale(bare, "tls-stranger", "tls-stranger@mail.example")
        notify.start()
        wait_for("the certificate is refused", lambda: "certificate" in (notify.of("tls-stranger")["reply"] or ""))
        notify.stop()
        assert {"tls-wrong@mail.example", "tls-stranger@mail.example"}.isdisjoint(server.box.messages)
        hold_what_is_open(bare)
    finally:
        server.stop()


def test_without_starttls_nothing_is_said_to_a_server_that_has_none(bare, server):
    sale(bare, "plain", "plain@mail.example")
    with running(bare, smtp(server).replace('"none"', '"starttls"')) as notify:
        notify.wait("plain", "waiting", "NO_CONNECTION")
    assert server.box.recipients == []


# ---- hostile bytes ----

EVIL = ["a@mail.example\r\nBcc: evil@evil.example", "a@mail.example>\r\nRCPT TO:<evil@evil.example", "a@mail.example\nBcc: evil@evil.example",
        "a@mail.example> SIZE=1", "<a@mail.example>", "a b@mail.example", "a@mail.example, evil@evil.example", "\"a\r\nb\"@mail.example",
        "a@mail", "a@127.0.0.1", "a@-mail.example", "a@mail..example", ".a@mail.example", "a@@mail.example", "a@mail.example\x00",
        "ä@mail.example", "a@mäil.example", "x" * 65 + "@mail.example"]


def test_an_address_cannot_bring_a_command_or_a_header(bare, server):
    for at, address in enumerate(EVIL):
        sale(bare, f"evil-{at}", address)  # as if validate had let it through: mailable
    sale(bare, "evil-not", "good@mail.example")
    with running(bare, smtp(server)) as notify:
        notify.wait("evil-not", "sent")
        for at in range(len(EVIL)):
            notify.wait(f"evil-{at}", "held", "BAD_ADDRESS")
    assert server.box.recipients == ["good@mail.example"] and list(server.box.messages) == ["good@mail.example"]


NAMES = ["Eve\r\nBcc: evil@evil.example", "Eve\r\n\r\n<script>alert(1)</script>", "=?utf-8?q?=0D=0ABcc:_evil@evil.example?=",
         "Zoë Čapková-Østergård", "名前" * 40, "\"quoted\" \\ (comment) <a@b.example>", ".\r\n.\r\n", "x" * 900, "", " ", "{{points}}",
         "O'Brien & Söhne <b>", "A, B; C:", "é" * 300]


def test_a_name_is_data_in_every_part(bare, server):
    for at, name in enumerate(NAMES):
        sale(bare, f"name-{at}", f"name{at}@mail.example", 3, name)
    with running(bare, smtp(server)) as notify:
        for at in range(len(NAMES)):
            notify.wait(f"name-{at}", "sent")
    for at, name in enumerate(NAMES):
        (data,) = server.box.messages[f"name{at}@mail.example"]
        message = parse(data)
        assert message["Bcc"] is None and [a.addr_spec for a in message["To"].addresses] == [f"name{at}@mail.example"]
        flat = " ".join(name.split())
        if flat and len(flat) < 60 and "=?" not in flat:
            assert message["To"].addresses[0].display_name == flat
        if "=?" in flat:
            assert message["To"].addresses[0].display_name == flat  # the text, not what it decodes to
        html = html_of(message)
        assert "<script>" not in html and "<b>" not in html.replace(f"<b>{3} points</b>", "")
        if "{{" in name:
            assert "Dear {{points}}," in text_of(message)
    assert set(server.box.recipients) == {f"name{at}@mail.example" for at in range(len(NAMES))}


# ---- what may not go ----

def test_each_reason_that_stops_a_letter(bare, server):
    line, now = bare.line, now_ms()
    line.customer("erased", "erased@mail.example", "Gone", at=1000)
    line.customer("erased", None, None, erased=True, at=2000)
    line.customer("bad", "bad@mail.example", mailable=False)
    line.customer("noaddress", None)
    line.customer("noconsent", "noconsent@mail.example", consent=False)
    line.customer("untrue", "untrue@mail.example")
    line.customer("left", "left@mail.example")
    line.customer("old", "old@mail.example")
    line.customer("capped", "capped@mail.example")
    line.customer("tomorrow", "tomorrow@mail.example", at=now + DAY_MS)
    line.flush()
    for customer in ("erased", "bad", "noaddress", "nowhere", "tomorrow"):
        line.posting(customer, f"T-{customer}", 5)
    line.posting("untrue", "T-untrue", 5)
    line.posting("untrue", "R-untrue", -5, kind="RETURN", sale="T-untrue")
    line.posting("old", "T-old", 5, at=now - 4 * DAY_MS)
    line.change("noconsent", "AT_RISK", reason="TIME")
    line.change("left", "AT_RISK", reason="TIME")
    line.change("left", "AT_RISK", "EXITED", reason="POINTS_SPENT")
    for segment in ("HIGH_SPENDER", "AT_RISK", "RFM_CHAMPIONS"):
        line.change("capped", segment, at=now)
    line.flush()
    with running(bare, smtp(server, "cap_letters = 2; delay_ms = 1500;")) as notify:
        for customer, reason in (("erased", "ERASED"), ("bad", "BAD_ADDRESS"), ("noaddress", "NO_ADDRESS"), ("nowhere", "NO_ADDRESS"),
                                 ("tomorrow", "NO_ADDRESS"), ("noconsent", "NO_CONSENT"), ("left", "NOT_TRUE"), ("old", "TOO_OLD")):
            notify.wait(customer, "held", reason)
        states = {x["letter"]: (x["state"], x["reason"]) for x in decided(notify, "untrue", 2)}
        assert states == {"points_earned": ("held", "NOT_TRUE"), "points_reversed": ("sent", "SENT")}
        assert sorted(x["reason"] for x in decided(notify, "capped", 3)) == ["CAPPED", "SENT", "SENT"]
    assert sorted(server.box.recipients) == ["capped@mail.example", "capped@mail.example", "untrue@mail.example"]
    rest = bare.query("select name, email from mail.recipients where customer_id = 'erased'")
    assert set(rest) == {(None, None)}  # in every version


def test_the_same_change_again_is_one_letter(bare, server):
    bare.line.customer("twice", "twice@mail.example")
    bare.line.flush()
    bare.line.change("twice", "AT_RISK", reason="TIME", change_id="the-same")
    bare.line.change("twice", "AT_RISK", reason="TIME", change_id="the-same")
    bare.line.flush()
    with running(bare, smtp(server)) as notify:
        letter = notify.wait("twice", "sent")
        why = {step["reason"] for step in bare.lens("mail", "why", letter["id"])["decisions"]}
    assert "ALREADY_SENT" in why and len(server.box.messages["twice@mail.example"]) == 1


def test_quiet_hours_hold_marketing_until_they_end_but_not_points(bare, server):
    hour = (time.gmtime().tm_hour + 1) % 24  # London, in winter: within an hour on either side of now
    sale(bare, "quiet", "quiet@mail.example")
    bare.line.change("quiet", "AT_RISK", reason="TIME")
    bare.line.flush()
    with running(bare, smtp(server, f"quiet_from_hour = {(hour + 21) % 24}; quiet_to_hour = {(hour + 3) % 24};")) as notify:
        wait_for("one sent, one waits", lambda: sorted((x["state"], x["reason"]) for x in notify.letters(customer="quiet")) ==
                 [("sent", "SENT"), ("waiting", "QUIET_HOURS")])
        (due,) = bare.query("select extract(hour from due_at at time zone 'Europe/London')::int, due_at > now() from mail.letters"
                            " where customer_id = 'quiet' and state = 'waiting'")
    assert due == ((hour + 3) % 24, True)


def test_one_click_takes_a_customer_off_one_list(bare, server):
    sale(bare, "unsub", "unsub@mail.example")
    with running(bare, smtp(server)) as notify:
        notify.wait("unsub", "sent")
        token = token_of(parse(server.box.messages["unsub@mail.example"][0]))
        done = bare.lens("mail", "unsubscribe", token)
        assert done == {"customer_id": "unsub", "list": "points", "unsubscribed": True}
        head, mac = token.split(".")
        for forged in (head + "." + mac[:-2] + ("AA" if mac[-2:] != "AA" else "BA"), "MXxwb2ludHN8b2s." + mac, head, "", head + "." + mac + "A"):
            refused = bare.run("mail", "unsubscribe", forged)
            assert refused.returncode == 1 and "nothing was changed" in refused.stderr, forged
        bare.line.posting("unsub", "T-unsub-2", 4)
        bare.line.change("unsub", "AT_RISK", reason="TIME")
        bare.line.flush()
        found = sorted((x["letter"], x["reason"]) for x in decided(notify, "unsub", 3))
    assert found == [("at_risk", "SENT"), ("points_earned", "SENT"), ("points_earned", "UNSUBSCRIBED")]


def test_a_replay_sends_nothing(bare, server):
    line = bare.line
    line.customer("replay", "replay@mail.example")
    line.posting("replay", "T-replay", 9, run=2)
    line.change("replay", "AT_RISK", reason="TIME")
    line.flush()
    with running(bare, smtp(server)):
        notify = Notify(bare, smtp(server))
        wait_for("run 1 takes the change alone", lambda: [x["letter"] for x in notify.letters(customer="replay")] == ["at_risk"])
    before = len(server.box.recipients)
    notify = Notify(bare, smtp(server))
    notify.configure(smtp(server), "program: { run = 2; };")
    notify.start()
    try:
        letters = wait_for("run 2 holds everything", lambda: len(notify.letters(customer="replay")) == 2 and notify.letters())
        assert {(x["state"], x["reason"]) for x in letters} == {("held", "REPLAY")}
        notify.stop()
    finally:
        notify.kill()
    assert len(server.box.recipients) == before


def test_a_day_in_one_letter(bare, server):
    line = bare.line
    line.customer("day", "day@mail.example", "Dana")
    line.posting("day", "T-day-1", 10)
    line.posting("day", "T-day-2", 20)
    line.flush()
    with running(bare, smtp(server, 'points = "daily";')) as notify:
        wait_for("two in one", lambda: notify.of("day")["state"] == "waiting" and
                 bare.query("select facts->>'count' from mail.letters where customer_id = 'day'") == [("2",)])
        line.posting("day", "R-day-1", -4, kind="RETURN", sale="T-day-1")
        line.flush()
        wait_for("three in one", lambda: bare.query("select facts->>'count' from mail.letters where customer_id = 'day'") == [("3",)])
        (due,) = bare.query("select extract(hour from due_at at time zone 'Europe/London')::int,"
                            " (due_at at time zone 'Europe/London')::date - (noted_at at time zone 'Europe/London')::date"
                            " from mail.letters where customer_id = 'day'")
        assert due == (8, 1)
        bare.query("update mail.letters set due_at = now() where customer_id = 'day' returning 1")  # the night is over
        notify.wait("day", "sent")
    message = parse(server.box.messages["day@mail.example"][0])
    assert "earned 30 points, and 4 were taken back: 26 in all" in text_of(message)


# ---- the start ----

@pytest.mark.parametrize("file, change, words", [
    ("points_earned.txt", lambda text: text.replace("{{points}}", "{{pints}}"), "points_earned.txt:1: a letter on points_earned has no field {{pints}}"),
    ("at_risk.html", lambda text: text.replace("{{spendable}}", "{{transaction}}"), "has no field {{transaction}}"),
    ("tier.html", lambda text: text.replace("{{unsubscribe_url}}", "#"), "{{unsubscribe_url}} is missing"),
    ("segment.txt", lambda text: text.replace("{{program}}", "{{program"), "{{ without }}"),
    ("welcome_back.txt", lambda text: text.replace("Subject: ", ""), "welcome_back.txt:1: must be \"Subject: ...\""),
    ("letters.conf", lambda text: text.replace('"tier"', '"tear"'), "tear.txt: No such file"),
    ("letters.conf", lambda text: text.replace('"marketing"', '"merketing"'), "must be transactional, service or marketing"),
])
def test_a_wrong_template_is_an_error_at_the_start(tmp_path, file, change, words):
    from stack import ROOT
    home, folder = Stack(tmp_path), tmp_path / "letters"
    folder.mkdir()
    for path in (ROOT / "deploy" / "letters").iterdir():
        text = path.read_text()
        (folder / path.name).write_text(change(text) if path.name == file else text)
    home.configure(f'notify: {{ letters_dir = "{folder}"; }};\n')
    done = subprocess.run([str(BIN / "lens-notify"), "--check"], env=home.environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 2 and words in done.stderr, done.stderr


@pytest.mark.parametrize("settings, words", [
    ('from_address = "loyalty@example.com> RCPT TO:<evil@evil.example";', "is no address"),
    ('from_address = "loyalty@example.com\\r\\nBcc: evil@evil.example";', "control character"),
    ('unsubscribe_url = "http://example.com/";', "https://"),
    ('delivery = "smtp";', "notify.smtp_host"),
    ('delivery = "smtp"; smtp_host = "h"; smtp_tls = "none"; smtp_username = "u"; smtp_password_file = "/dev/null";', "not encrypted"),
    ('delivery = "smtp"; smtp_host = "h QUIT";', "is no host"),
])
def test_a_wrong_setting_is_an_error_at_the_start(tmp_path, settings, words):
    home = Stack(tmp_path)
    home.configure(f"notify: {{ {settings} }};\n")
    done = subprocess.run([str(BIN / "lens-notify"), "--check"], env=home.environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 2 and words in done.stderr, done.stderr
