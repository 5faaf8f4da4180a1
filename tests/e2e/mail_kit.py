"""What tests of letters share: a mail server that does what a letter's address asks of it, lens-notify alone on a stack without the
other processes, and records of its inputs, written as the line writes them."""

from __future__ import annotations

import asyncio
import base64
import collections
import email
import email.policy
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from confluent_kafka import Producer

from stack import BIN, ROOT, Stack, wait_for

PARTITIONS = 8
IDS = {"customer": 1004, "ledger": 1010, "segment_change": 1012}


# ---- records ----

def _schema_ids() -> dict:
    import re
    text = (ROOT / "schemas" / "ids.conf").read_text()
    return {kind: int(number) for number, kind in re.findall(r'id = (\d+); kind = "(\w+)"', text)}


def _long(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def _encode(schema, value) -> bytes:
    if isinstance(schema, list):
        at = 0 if value is None else 1
        return _long(at) + (b"" if value is None else _encode(schema[1], value))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, (dict, list)):
        return _encode(kind, value)
    if kind == "record":
        return b"".join(_encode(field["type"], value[field["name"]] if field["name"] in value else field["default"])
                        for field in schema["fields"])
    if kind == "array":
        return (_long(len(value)) + b"".join(_encode(schema["items"], item) for item in value) if value else b"") + _long(0)
    if kind == "enum":
        return _long(schema["symbols"].index(value))
    if kind == "string":
        data = value.encode()
        return _long(len(data)) + data
    if kind == "boolean":
        return b"\x01" if value else b"\x00"
    assert kind in ("int", "long"), kind
    return _long(value)


def now_ms() -> int:
    return int(time.time() * 1000)


class Line:
    """Writes what validate, relay and segment would have written."""

    def __init__(self, stack: Stack):
        self.producer = Producer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "linger.ms": 5})
        self.ids = _schema_ids()
        self.offsets = collections.Counter()
        self.sequences = collections.Counter()

    def _send(self, topic: str, kind: str, partition: int, key: str, record: dict) -> None:
        schema = json.loads((ROOT / "schemas" / f"{kind}.avsc").read_text())
        value = struct.pack(">bI", 0, self.ids[kind]) + _encode(schema, record)
        while True:
            try:
                self.producer.produce(topic, value, key.encode(), partition)
                return
            except BufferError:
                self.producer.poll(0.1)

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    @staticmethod
    def partition_of(customer: str) -> int:
        return sum(customer.encode()) % PARTITIONS

    def customer(self, customer: str, address: str | None, name: str | None = None, *, consent=True, mailable=True, erased=False,
                 at: int = 1000) -> None:
        self._send("customers.valid", "customer", 0, f"{customer}|{at}", {
            "customer_id": customer, "effective_from": at, "name": name, "email": address, "phone": None, "language": None,
            "country": None, "consent_marketing": consent, "mailable": mailable, "erased": erased, "source": "test"})

    def posting(self, customer: str, transaction: str, points: int, *, kind="SALE", sale: str | None = None, at: int | None = None,
                run: int = 1) -> None:
        partition = self.partition_of(customer)
        self.offsets[partition] += 1
        at = now_ms() if at is None else at
        self._send("ledger", "ledger", partition, customer, {
            "run": run, "partition": partition, "offset": self.offsets[partition], "event_offset": self.offsets[partition],
            "source": "test", "event_type": kind, "transaction_id": transaction, "sale_id": sale, "customer_id": customer,
            "net_minor": points * 1000, "sale_day": at // 86400000, "points": points, "rules_version": 1, "event_time": at,
            "posted_at": at})

    def change(self, customer: str, segment: str, kind="ENTERED", *, reason="PURCHASE", at: int | None = None,
               change_id: str | None = None) -> None:
        self.sequences[customer, segment] += 1
        sequence = self.sequences[customer, segment]
        at = now_ms() if at is None else at
        change_id = change_id or f"{customer}-{segment}-{sequence}"
        self._send("segment-changes", "segment_change", self.partition_of(customer), customer, {
            "change_id": change_id, "customer_id": customer, "segment": segment, "kind": kind, "reason": reason,
            "sequence": sequence, "effective_at": at, "detected_at": at, "as_of_day": at // 86400000, "threshold_version": 1,
            "recency_days": 31, "frequency": 5, "monetary_minor": 123456, "r": 1, "f": 2, "m": 3, "rfm_segment": "AT_RISK",
            "points_balance": 40, "tier": "SILVER", "clv_potential": 50})


# ---- the mail server ----

class Mailbox:
    """What the server took for good: by recipient, in order; and every command that came."""

    def __init__(self):
        self.messages = collections.defaultdict(list)
        self.tries = collections.Counter()
        self.recipients = []
        self.commands = []

    def all(self) -> list[bytes]:
        return [message for messages in self.messages.values() for message in messages]


class Handler:
    """The address says what happens: rcpt4-N@ is put off N times, rcpt5@ refused, data4-N@, data5@ after the text; drop@ and
    silent@ lose the connection after the text, the first time alone."""

    def __init__(self, box: Mailbox):
        self.box = box

    async def handle_RCPT(self, server, session, envelope, address, options):
        word = address.split("@")[0]
        self.box.recipients.append(address)
        if word == "rcpt5":
            return "550 5.1.1 no such mailbox"
        if word.startswith("rcpt4-"):
            self.box.tries[word] += 1
            if self.box.tries[word] <= int(word[6:]):
                return "450 4.2.1 mailbox busy"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        address = envelope.rcpt_tos[0]
        word = address.split("@")[0]
        self.box.tries[word] += 1
        if word == "data5":
            return "554 5.6.0 not this"
        if word.startswith("data4-") and self.box.tries[word] <= int(word[6:]):
            return "452 4.3.1 no room"
        if word in ("drop", "silent") and self.box.tries[word] == 1:
            self.box.messages[address].append(envelope.original_content)  # it arrived, and nobody says so
            if word == "silent":
                await asyncio.sleep(4)
            server.transport.abort()
            return "250 too late"
        self.box.messages[address].append(envelope.original_content)
        return "250 2.0.0 taken"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, port: int | None = None, **options):
        self.port = port or free_port()
        self.box = Mailbox()
        self.options = options
        self.controller = None

    def start(self) -> "Server":
        self.controller = Controller(Handler(self.box), hostname="127.0.0.1", port=self.port, **self.options)
        self.controller.start()
        return self

    def stop(self) -> None:
        if self.controller is not None:
            self.controller.stop()
        self.controller = None


def tls_files(folder) -> tuple[str, str]:
    """A certificate for localhost, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return str(cert), str(key)


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def password_is(user: bytes, password: bytes):
    def ask(server, session, envelope, mechanism, data):
        return AuthResult(success=data.login == user and data.password == password, handled=False)

    return ask


# ---- lens-notify ----

class Notify:
    """lens-notify on a stack that runs no process of ours."""

    def __init__(self, stack: Stack, settings: str):
        self.stack, self.process = stack, None
        self.log_path = stack.home / "log" / "notify.test" / "current"  # where the crash reports are looked for
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.configure(settings)

    def configure(self, settings: str, *others: str) -> None:
        defaults = "delay_ms = 0; quiet_from_hour = 0; quiet_to_hour = 0; cap_letters = 100; rate = 100000; backoff_ms = 50;"
        names = {part.split("=")[0].strip() for part in settings.split(";")}
        kept = " ".join(f"{part.strip()};" for part in defaults.split(";") if part.strip() and
                        part.split("=")[0].strip() not in names)
        self.stack.configure(f"notify: {{ {kept} {settings} }};\n" + "\n".join(others))

    def start(self) -> "Notify":
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(BIN / "lens-notify")], env=self.stack.environment(), cwd=ROOT, stderr=log)
        return self

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(60) == 0, self.log()[-2000:]
        self.process = None

    def letters(self, **where) -> list[dict]:
        options = [word for name, value in where.items() for word in (f"--{name}", value)]
        return self.stack.lens("mail", "list", "--limit", "100000", *options)["letters"]

    def of(self, customer: str) -> dict:
        """The customer's only letter."""
        letters = self.letters(customer=customer)
        assert len(letters) == 1, letters
        return letters[0]

    def wait(self, customer: str, state: str, reason: str | None = None, timeout_s: float = 30) -> dict:
        def ask():
            letter = self.of(customer)
            return letter if letter["state"] == state and reason in (None, letter["reason"]) else None

        try:
            return wait_for(f"the letter of {customer} is {state} {reason or ''}", ask, timeout_s, 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-3000:]}") from None


# ---- messages ----

def parse(data: bytes):
    """By the strict policy: any defect raises. And what every letter of ours must have."""
    assert b"\n" not in data.replace(b"\r\n", b"") and b"\r" not in data.replace(b"\r\n", b""), "a line end that is none"
    assert max(map(len, data.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(data, policy=email.policy.strict.clone(linesep="\r\n"))
    for part in message.walk():
        assert not part.defects, part.defects
        for name in part.keys():
            assert not part[name].defects, (name, part[name].defects)
    for name in ("Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Auto-Submitted", "List-Unsubscribe",
                 "List-Unsubscribe-Post", "List-Id"):
        assert len(message.get_all(name)) == 1, name
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Date"].datetime is not None
    parts = [part.get_content_type() for part in message.walk()]
    assert parts == ["multipart/alternative", "text/plain", "text/html"], parts
    return message


def text_of(message) -> str:
    return message.get_body(("plain",)).get_content()


def html_of(message) -> str:
    return message.get_body(("html",)).get_content()


def token_of(message) -> str:
    return message["List-Unsubscribe"].strip("<> \r\n").rsplit("/", 1)[1]


def id_of(message) -> str:
    return message["Message-ID"].strip("<>").split("@")[0]


def token_payload(token: str) -> bytes:
    head = token.split(".")[0]
    return base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))
