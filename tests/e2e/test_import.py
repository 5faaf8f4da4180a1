"""`lens import` on a real broker: what lies in the topics afterwards, row by row, also when it is killed on the way."""

import collections
import csv
import gzip
import io
import json
import os
import pathlib
import signal
import subprocess

import pytest

import stack as stacks
from stack import BIN, ROOT, wait_for

SHARED = pathlib.Path(os.environ.get("LENS_SHARED_DATA", stacks.DATA))
RETAIL = SHARED / "online_retail" / "online_retail_2010-12_2011-02.csv.gz"
HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A stack whose processes do not run: what import sends stays as it is."""
    import conftest

    stack = stacks.Stack(conftest._new_home())
    try:
        stack.up("--no-processes")
        yield stack
    finally:
        conftest._finish(stack)


class Topic:
    """All committed records of a topic from where it ended when this was made."""

    def __init__(self, stack, name):
        from confluent_kafka import Consumer

        settings = {"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "group.id": "test", "enable.auto.commit": False,
                    "enable.partition.eof": True, "reconnect.backoff.max.ms": 500}
        self._name = name
        self._consumer = Consumer({**settings, "isolation.level": "read_committed"})
        self._watcher = Consumer({**settings, "isolation.level": "read_uncommitted"})
        self.starts = wait_for(f"{name} has leaders", self._ends)

    def _ends(self):
        from confluent_kafka import TopicPartition

        return {p: self._watcher.get_watermark_offsets(TopicPartition(self._name, p), timeout=5)[1]
                for p in self._watcher.list_topics(self._name).topics[self._name].partitions}

    def grown(self):
        """How many records came since, those of open and aborted transactions too."""
        return sum(self._ends().values()) - sum(self.starts.values())

    def read(self):
        from confluent_kafka import KafkaError, TopicPartition

        self._consumer.assign([TopicPartition(self._name, p, start) for p, start in self.starts.items()])
        records, at_end = [], set()
        while len(at_end) < len(self.starts):
            message = self._consumer.poll(30)
            assert message is not None, f"{self._name} does not end"
            if message.error() is None:
                records.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
        return records


def headers(message):
    return {name: value.decode() for name, value in message.headers() or []}


def retail(invoices, lines_each, bad_every=0, first=100000):
    """online_retail rows; every bad_every-th has price 0 (10 and 8 lines: no invoice is bad altogether)."""
    out = io.StringIO()
    out.write(HEAD)
    row = 0
    for invoice in range(first, first + invoices):
        for line in range(lines_each):
            row += 1
            price = "0.0" if bad_every and row % bad_every == 0 else "1.25"
            out.write(f"{invoice},P{line},THING,2,2010-12-01 08:26:00,{price},{17000 + invoice % 997}.0,UK\n")
    return out.getvalue()


def sales(records):
    """(transaction_id, number of lines) as avro's own reader sees them."""
    import avro.io
    import avro.schema

    schema = avro.schema.parse((ROOT / "schemas" / "transaction.avsc").read_text())
    reader = avro.io.DatumReader(schema)
    for record in records:
        value = record.value()
        assert value[0] == 0
        yield reader.read(avro.io.BinaryDecoder(io.BytesIO(value[5:])))


def start_import(stack, *args):
    return subprocess.Popen([str(BIN / "lens"), "import", *map(str, args)], env=stack.environment(), cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_row_that_is_no_event_keeps_its_bytes_and_its_reasons(broker, tmp_path):
    file = tmp_path / "mixed.csv"
    rows = [b"536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
            b"536365,85123A,caf\xe9,-6,2010-12-01 08:26:00,0.0,17850.0,UK",
            b'536365,8,"open,6,2010-12-01 08:26:00,2.55,17850.0,UK',
            b"536366,N\x00,X,6,2010-12-01 08:26:00,2.55,17850.0,UK"]
    file.write_bytes(HEAD.encode() + b"\n".join(rows))
    dead, raw = Topic(broker, "dead-letter"), Topic(broker, "transactions")
    summary = broker.lens("import", "online_retail", file)
    assert (summary["lines_read"], summary["lines_good"], summary["lines_bad"]) == (4, 1, 3)
    assert summary["bad_by_code"] == {"CSV_SYNTAX": 1, "TEXT_ENCODING": 1, "TEXT_CONTROL": 1, "PRICE_NOT_POSITIVE": 1,
                                      "SIGN_MISMATCH": 1}
    letters = {headers(m)["ll-line"]: m for m in dead.read()}
    assert {line: m.value() for line, m in letters.items()} == {"3": rows[1], "4": rows[2], "5": rows[3]}
    assert letters["3"].key() == b"mixed.csv:3"
    found = headers(letters["3"])
    assert set(found["ll-codes"].split(",")) == {"TEXT_ENCODING", "SIGN_MISMATCH", "PRICE_NOT_POSITIVE"}
    assert (found["ll-stage"], found["ll-file"], found["ll-topic"]) == ("import", "mixed.csv", "transactions")
    assert int(found["ll-first-at"]) > 1600000000000 and "UnitPrice" in found["ll-message"]
    (event,) = sales(raw.read())
    assert (event["transaction_id"], event["event_type"], event["customer_id"]) == ("536365", "SALE", "17850")
    assert event["source_ref"] == "mixed.csv:2" and event["total_amount"] is None


def test_the_same_file_twice_is_said_and_sends_nothing(broker, tmp_path):
    file = tmp_path / "twice.csv"
    file.write_text(retail(3, 2, first=200000))
    assert broker.lens("import", "online_retail", file)["transactions"] == 3
    raw = Topic(broker, "transactions")
    done = broker.run("import", "online_retail", file)
    assert done.returncode == 3 and "was imported before" in done.stderr and "--again" in done.stderr
    (tmp_path / "other_name.csv").write_text(file.read_text())
    assert broker.run("import", "online_retail", tmp_path / "other_name.csv").returncode == 3, "it is the content that counts"
    assert raw.read() == []
    again = broker.lens("import", "online_retail", file, "--again")
    assert (again["attempt"], again["transactions"], len(raw.read())) == (2, 3, 3)


def test_a_dry_run_needs_no_broker(home, tmp_path):
    file = tmp_path / "dry.csv"
    file.write_text(retail(3, 2, bad_every=2))
    summary = home.lens("import", "online_retail", "--dry-run", file)
    assert (summary["lines_good"], summary["lines_bad"]) == (3, 3)


def test_no_broker_is_said_with_its_address(home, tmp_path):
    home.configure('kafka: { bootstrap = "127.0.0.1:1"; };\n')
    file = tmp_path / "f.csv"
    file.write_text(retail(1, 1))
    done = home.run("import", "online_retail", file)
    assert done.returncode == 4 and "127.0.0.1:1" in done.stderr


def test_usage_and_profile_faults_end_with_2(home, tmp_path):
    assert home.run("import").returncode == 2
    assert home.run("import", "online_retail").returncode == 2
    done = home.run("import", "no_such_profile", "x.csv")
    assert done.returncode == 2 and "no_such_profile.conf" in done.stderr


def transaction_id(record):
    """The event's first field; avro's own reader takes minutes for them all."""
    value = record.value()
    return value[6:6 + value[5] // 2].decode()


def check_each_row_once(raw, dead, invoices, lines_each, bad_every, first):
    records = raw.read()
    lines = collections.Counter(map(transaction_id, records))
    for event in sales(records[::97]):
        kept = [n for n in range(lines_each)
                if not bad_every or ((int(event["transaction_id"]) - first) * lines_each + n + 1) % bad_every]
        assert [line["product_id"] for line in event["lines"]] == [f"P{n}" for n in kept]
    assert len(lines) == invoices and set(lines.values()) == {1}
    letters = collections.Counter(int(headers(m)["ll-line"]) for m in dead.read())
    bad = {row + 1 for row in range(1, invoices * lines_each + 1) if row % bad_every == 0}
    assert set(letters) == bad and set(letters.values()) <= {1}


INVOICES, LINES_EACH, BAD_EVERY = 60000, 8, 10


def big_file(folder, first):
    """A file that takes a while, and a profile with few rows in memory, so that outputs come from the beginning."""
    profile, file = folder / "retail.conf", folder / f"big{first}.csv"
    profile.write_text((ROOT / "deploy/profiles/online_retail.conf").read_text().replace(
        'bad_row = "reject_line";', 'bad_row = "reject_line";\nopen_rows = 1000;'))
    file.write_text(retail(INVOICES, LINES_EACH, BAD_EVERY, first))
    return profile, file


def wait_grown(topic, records, running):
    """Until so many records came, of whatever transaction, or the import has ended."""
    wait_for(f"{records} records", lambda: topic.grown() >= records or running.poll() is not None, pause_s=0.002)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=["kill9", "term"])
def test_a_stopped_import_run_again_has_each_row_once(broker, tmp_path, sign):
    first = 300000 if sign == signal.SIGKILL else 400000
    profile, file = big_file(tmp_path, first)
    raw, dead = Topic(broker, "transactions"), Topic(broker, "dead-letter")
    stops = 0
    for records in (1, 13000, 26000, 45000):
        running = start_import(broker, profile, file)
        wait_grown(raw, records, running)
        running.send_signal(sign)
        _, errors = running.communicate(timeout=60)
        stops += running.returncode in (1, -sign)
        assert running.returncode in (0, 1, 3, -sign), errors
    assert stops > 1, "it was not stopped on the way"
    done = broker.run("--json", "import", profile, file)
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads(done.stdout)
    assert summary["lines_read"] == INVOICES * LINES_EACH == summary["lines_good"] + summary["lines_bad"]
    assert summary["resumed_at"] > 0, "nothing was left to resume from"
    check_each_row_once(raw, dead, INVOICES, LINES_EACH, BAD_EVERY, first)


def test_kafka_killed_on_the_way_loses_and_doubles_nothing(broker, tmp_path):
    profile, file = big_file(tmp_path, 500000)
    raw, dead = Topic(broker, "transactions"), Topic(broker, "dead-letter")
    running = start_import(broker, profile, file)
    wait_grown(raw, 5000, running)
    assert running.poll() is None, "it was too quick"
    old = broker.kill("kafka")
    _, errors = running.communicate(timeout=180)
    assert running.returncode == 0, errors
    broker.wait_restarted("kafka", old)
    check_each_row_once(raw, dead, INVOICES, LINES_EACH, BAD_EVERY, 500000)


def test_an_interrupted_import_does_not_go_on_under_another_profile(broker, tmp_path):
    profile, file = big_file(tmp_path, 600000)
    raw = Topic(broker, "transactions")
    running = start_import(broker, profile, file)
    wait_grown(raw, 1000, running)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    profile.write_text(profile.read_text() + "# changed\n")
    done = broker.run("import", profile, file)
    assert done.returncode == 1 and "--again" in done.stderr
    assert broker.run("import", profile, file, "--again").returncode == 0


def test_two_imports_of_one_file_at_once_end_with_each_row_once(broker, tmp_path):
    profile, file = big_file(tmp_path, 700000)
    raw, dead = Topic(broker, "transactions"), Topic(broker, "dead-letter")
    one = start_import(broker, profile, file)
    wait_grown(raw, 1000, one)
    other = start_import(broker, profile, file)
    ends = [(run.communicate(timeout=120)[1], run.returncode) for run in (one, other)]
    assert 0 in [code for _, code in ends], ends
    check_each_row_once(raw, dead, INVOICES, LINES_EACH, BAD_EVERY, 700000)


def test_generated_files_give_the_dead_letters_of_their_truth(broker, tmp_path):
    out = tmp_path / "made"
    broker.lens("generate", "--out", out, "--days", "7", "--seed", "11")
    dead = Topic(broker, "dead-letter")
    summary = broker.lens("import", "header_lines", out)
    assert summary["lines_read"] == summary["lines_good"] + summary["lines_bad"]
    with open(out / "truth" / "defects.csv", newline="") as file:
        expected = {(row["file"], int(row["line"])): set(row["codes"].split(",")) for row in csv.DictReader(file)
                    if row["stage"] == "import"}
    found = {(h["ll-file"], int(h["ll-line"])): set(h["ll-codes"].split(",")) for h in map(headers, dead.read())}
    assert expected and found == expected


@pytest.mark.skipif(not RETAIL.exists(), reason=f"{RETAIL} is not there")
def test_uci_online_retail(broker, tmp_path):
    file = tmp_path / "online_retail.csv"
    file.write_bytes(gzip.decompress(RETAIL.read_bytes()))
    raw, dead = Topic(broker, "transactions"), Topic(broker, "dead-letter")
    summary = broker.lens("import", "online_retail", file)
    assert {name: summary[name] for name in ("lines_read", "lines_good", "lines_bad", "transactions", "sales", "returns", "net_minor")} == {
        "lines_read": 105335, "lines_good": 104795, "lines_bad": 540, "transactions": 4550, "sales": 3745, "returns": 805,
        "net_minor": 180701993}
    assert summary["bad_by_code"] == {"PRICE_NOT_POSITIVE": 540, "SIGN_MISMATCH": 214}
    assert summary["sha256"] == "0930a3925a28c48bbaf2bd8e713403f211dab7eab9ad0bcc1dfe8f004e122406"
    events = list(sales(raw.read()))
    assert len(events) == 4550 and len(dead.read()) == 540
    net = sum((1 if e["event_type"] == "SALE" else -1) * sum(line["amount"] for line in e["lines"]) for e in events)
    assert net == 180701993
