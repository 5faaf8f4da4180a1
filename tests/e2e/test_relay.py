"""The relay: what is committed in Postgres lies in ledger and dead-letter once, in order, whatever dies on the way."""

import collections
import contextlib
import ctypes
import json
import subprocess
import time

from ledger_topic import TICK_SEQ, decode, headers, read_topic
from stack import BIN, ROOT, wait_for

SMALL = "relay: { slice_rows = 4; };\naccrue: { flush_ms = 100; };\nkafka: { session_timeout_ms = 6000; };\n"


def rows_of_postgres(stack) -> dict:
    """partition -> [(offset, seq, posting)] in order."""
    rows = stack.query("""
        select partition, "offset", seq, run_id, coalesce(event_offset, "offset"), source, type::text, transaction_id, sale_id,
               customer_id, net_minor, lines, sale_day - date '1970-01-01', points, rules_version, rules,
               (extract(epoch from event_time) * 1000)::int8, (extract(epoch from posted_at) * 1000)::int8, warnings
          from loyalty.postings order by 1, 2, 3""")
    found = collections.defaultdict(list)
    for (partition, offset, seq, run, event_offset, source, kind, transaction_id, sale_id, customer_id, net, lines, day, points,
         version, rules, event_ms, posted_ms, warnings) in rows:
        parts = [line.split("\t") for line in lines.split("\n")] if lines else []
        found[partition].append((offset, seq, {
            "run": run, "partition": partition, "offset": offset, "seq": seq, "event_offset": event_offset, "source": source,
            "event_type": {"S": "SALE", "R": "RETURN", "V": "VOID"}[kind], "transaction_id": transaction_id, "sale_id": sale_id,
            "customer_id": customer_id, "net_minor": net,
            "lines": [{"product_id": p[0], "category": p[1] or None, "promotion_id": p[2] or None, "amount_minor": int(p[3]),
                       "excess_minor": int(p[4]) if len(p) > 4 else 0} for p in parts],
            "sale_day": day, "points": points, "rules_version": version,
            "breakdown": [dict(zip(("rule_id", "points"), map(int, r.split(":")))) for r in rules.split(" ")] if rules else [],
            "event_time": event_ms, "posted_at": posted_ms, "flags": warnings or ""}))
    return found


def key_of(posting: dict) -> str:
    return posting["customer_id"] or posting["sale_id"] or posting["transaction_id"]


def check_ledger(stack) -> int:
    """Every posting once, in order, in its partition, with its key and time; TICKs between them. Returns how many."""
    relayed, ticks = collections.defaultdict(list), collections.defaultdict(list)
    last = collections.defaultdict(lambda: (-1, -1))
    for message in read_topic(stack, "ledger"):
        kind, record = decode(message.value())
        partition = message.partition()
        if kind == "control":
            place = int(headers(message)["ll-offset"]), int(headers(message)["ll-seq"])
            assert record["kind"] == "TICK" and message.key() is None and place[1] == TICK_SEQ
            assert message.timestamp()[1] == record["time"]
            ticks[partition].append(record["time"])
        else:
            place = record["offset"], record["seq"]
            assert record["partition"] == partition
            assert message.key().decode() == key_of(record)
            assert message.timestamp()[1] == record["posted_at"]
            relayed[partition].append(place + (record,))
        assert place > last[partition], f"partition {partition}: {place} after {last[partition]}"
        last[partition] = place
    rows = rows_of_postgres(stack)
    for partition in sorted(set(rows) | set(relayed)):
        want = [(o, s, {**r, "flags": bool(r["flags"])}) for o, s, r in rows[partition]]
        got = [(o, s, {**r, "flags": r["flags"] != 0}) for o, s, r in relayed[partition]]
        assert got == want, f"partition {partition}"
        assert ticks[partition] == sorted(ticks[partition])
    assert ticks, "no TICK came through"
    return sum(map(len, rows.values()))


def check_dead(stack) -> int:
    rows = stack.query("""
        select partition, "offset", seq, event_offset, (extract(epoch from record_time) * 1000)::int8, codes, message, key, value,
               coalesce(raw_topic, 'transactions.valid'), raw_partition, raw_offset
          from loyalty.dead order by 1, 2, 3""")
    want = [(p, o, s, e, t, ",".join(codes), message or "", bytes(key) if key is not None else None,
             bytes(value) if value is not None else None, topic, raw_partition, raw_offset)
            for p, o, s, e, t, codes, message, key, value, topic, raw_partition, raw_offset in rows]
    got = []
    for m in read_topic(stack, "dead-letter"):
        h = headers(m)
        if h["ll-stage"] != "accrue":
            continue
        assert h["ll-group"].endswith("relay") and int(h["ll-valid-partition"]) == m.partition()
        assert int(h["ll-timestamp"]) == m.timestamp()[1] == int(h["ll-first-at"])
        assert {"ll-schema-id", "ll-attempt", "ll-run"} <= set(h)
        got.append((m.partition(), int(h["ll-row-offset"]), int(h["ll-row-seq"]), int(h["ll-valid-offset"]), m.timestamp()[1],
                    h["ll-codes"], h["ll-message"], m.key(), m.value(), h["ll-topic"], int(h["ll-partition"]),
                    int(h["ll-offset"])))
    by_partition = sorted(got, key=lambda row: row[0])  # stable: the order within a partition is the topic's
    assert by_partition == want
    return len(want)


OPTIONS = ("--customers", "500", "--products", "60", "--defects", "6", "--returns", "15", "--duplicates", "5", "--topics")


def generate(stack, tmp_path, *options):
    stack.lens("generate", "--out", tmp_path, *OPTIONS, *options)


def delete_group(stack, name: str) -> bool:
    """What time does to a group without members. By librdkafka itself: Debian's Python binding cannot."""
    rd = ctypes.CDLL("librdkafka.so.1")
    for function in ("conf_new", "new", "queue_new", "DeleteGroup_new", "queue_poll", "event_DeleteGroups_result",
                     "DeleteGroups_result_groups", "group_result_error"):
        getattr(rd, f"rd_kafka_{function}").restype = ctypes.c_void_p
    words, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    conf = ctypes.c_void_p(rd.rd_kafka_conf_new())
    rd.rd_kafka_conf_set(conf, b"bootstrap.servers", stack.env()["KAFKA_BOOTSTRAP"].encode(), words, size)
    client = ctypes.c_void_p(rd.rd_kafka_new(0, conf, words, size))
    queue = ctypes.c_void_p(rd.rd_kafka_queue_new(client))
    group = (ctypes.c_void_p * 1)(rd.rd_kafka_DeleteGroup_new(name.encode()))
    rd.rd_kafka_DeleteGroups(client, group, ctypes.c_size_t(1), None, queue)
    event = ctypes.c_void_p(rd.rd_kafka_queue_poll(queue, 10000))
    done = False
    if event and rd.rd_kafka_event_error(event) == 0:
        count = ctypes.c_size_t()
        result = ctypes.c_void_p(rd.rd_kafka_event_DeleteGroups_result(event))
        groups = ctypes.c_void_p(rd.rd_kafka_DeleteGroups_result_groups(result, ctypes.byref(count)))
        first = ctypes.c_void_p.from_address(groups.value)
        done = count.value == 1 and rd.rd_kafka_group_result_error(first) is None
    rd.rd_kafka_event_destroy(event)
    rd.rd_kafka_DeleteGroup_destroy(ctypes.c_void_p(group[0]))
    rd.rd_kafka_queue_destroy(queue)
    rd.rd_kafka_destroy(client)
    return done


@contextlib.contextmanager
def second_relay(stack):
    """A relay beside the supervised one, which shares its partitions; the list holds what runs now."""
    def start():
        return subprocess.Popen([str(BIN / "lens-relay"), "--instance", "relay-2"], env=stack.environment(), cwd=ROOT,
                                stderr=(stack.home / "log" / "relay-2").open("ab"))

    running = [start()]
    try:
        yield running, start
    finally:
        running[0].terminate()
        running[0].wait(30)


def test_each_row_once_and_in_order_though_relays_and_services_are_killed(home, tmp_path):
    home.configure(SMALL)
    home.up()
    with second_relay(home) as (second, start_second):
        generate(home, tmp_path, "--sales", "20000", "--seed", "5")  # committed in two seconds, relayed for many
        for number in range(12):
            time.sleep(0.7)
            second[0].kill()
            second[0].wait()
            if number in (5, 9):
                name = "kafka" if number == 5 else "postgres"
                pid = home.kill(name)
                home.wait_restarted(name, pid)
            if number in (2, 8):
                pid = home.kill("relay")
                home.wait_restarted("relay", pid)
            second[0] = start_second()
        assert home.service("relay")["lag"] > 1000, "nothing was left to relay: the last kills struck idle relays"
        home.lens("wait", "--timeout", "240")
    home.lens("wait", "--timeout", "60")
    assert check_ledger(home) > 20000
    assert check_dead(home) > 10
    wait_for("nothing is behind", lambda: home.service("relay")["lag"] == 0 and home.service("relay")["state"] == "ready")
    wait_for("Postgres knows it", lambda: home.query("select bool_and(next_offset = relayed_upto) from loyalty.partitions")[0][0])
    # Seen once by the tools too, though it lies in Postgres and in Kafka.
    dead = home.query("select count(*) from loyalty.dead")[0][0]
    letters = home.lens("dlq", "list", "--limit", "100000")["letters"]
    refs = [letter["ref"] for letter in letters if letter["stage"] == "accrue"]
    assert len(refs) == len(set(refs)) == dead
    assert home.lens("dlq", "stats")["by_stage"]["accrue"]["letters"] == dead
    assert home.run("verify").returncode == 0


def test_progress_that_has_expired_is_found_in_the_topics(home, tmp_path):
    home.configure(SMALL)
    home.up()
    generate(home, tmp_path, "--sales", "2000", "--seed", "9")
    home.lens("wait", "--timeout", "120")
    rows, dead = check_ledger(home), check_dead(home)
    home.lens("down")
    home.up("--no-processes")
    # A group is forgotten when its last member is: a static one outlives its process by the session's time.
    wait_for("the group is gone", lambda: delete_group(home, "lens-relay"), 60, 1)
    home.up()
    wait_for("the end was looked for", lambda: "event=progress_found partition=7 progress=" in home.log("relay").rpartition(
        "event=start")[2])
    generate(home, tmp_path / "more", "--sales", "300", "--seed", "10", "--start", "2025-06-01")
    home.lens("wait", "--timeout", "60")
    assert check_ledger(home) > rows and check_dead(home) >= dead


def test_verify_sees_what_a_topic_has_too_much_and_too_little(home, tmp_path):
    from confluent_kafka import Producer

    home.configure(SMALL)
    home.up()
    generate(home, tmp_path, "--sales", "5000", "--seed", "12")
    home.lens("wait", "--timeout", "60")
    checks = {check["check"]: check for check in home.lens("verify")["checks"]}
    assert checks["relay"]["compared"] == home.query("select count(*) from loyalty.postings")[0][0]
    assert checks["relay of refusals"]["compared"] == home.query("select count(*) from loyalty.dead")[0][0] > 0
    again = next(m for m in read_topic(home, "ledger") if decode(m.value())[0] == "ledger")
    home.query("delete from loyalty.dead where (partition, \"offset\", seq) in (select partition, \"offset\", seq from loyalty.dead"
               " limit 1)")
    producer = Producer({"bootstrap.servers": home.env()["KAFKA_BOOTSTRAP"]})
    producer.produce("ledger", again.value(), again.key(), again.partition())
    producer.flush(10)
    found = home.run("--json", "verify")
    checks = {check["check"]: check for check in json.loads(found.stdout)["checks"]}
    assert found.returncode == 3
    assert checks["relay"]["different"] == 1 and "twice" in checks["relay"]["first"]
    assert checks["relay of refusals"]["different"] == 1 and "not in Postgres" in checks["relay of refusals"]["first"]


def test_commit_to_topic_takes_less_than_a_blink(home, tmp_path):
    """From Postgres's commit to a reader of the topic, while events flow. Commits come often and at odd times, so that a relay that
    looks once a second would take half of that."""
    from confluent_kafka import Consumer, TopicPartition

    home.configure("accrue: { flush_ms = 70; };\n")
    home.up()
    consumer = Consumer({"bootstrap.servers": home.env()["KAFKA_BOOTSTRAP"], "group.id": "test-latency", "isolation.level":
                         "read_committed", "enable.auto.commit": False, "fetch.wait.max.ms": 20})
    parts = [TopicPartition("ledger", p) for p in consumer.list_topics("ledger", 10).topics["ledger"].partitions]
    for part in parts:
        part.offset = consumer.get_watermark_offsets(part, timeout=10)[1]
    consumer.assign(parts)
    connection = home.postgres()
    cursor = connection.cursor()
    producing = subprocess.Popen([BIN / "lens", "generate", "--out", tmp_path, *OPTIONS, "--sales", "160", "--seed", "31", "--rate",
                                  "20"], env=home.environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    shown, seen, until = {}, {}, time.monotonic() + 15
    while time.monotonic() < until:
        cursor.execute('select partition, max("offset") from loyalty.postings group by 1')
        now = time.monotonic()
        for place in cursor.fetchall():
            shown.setdefault(place, now)
        message = consumer.poll(0.002)
        while message is not None and message.error() is None:
            kind, record = decode(message.value())
            if kind == "ledger":
                seen[(record["partition"], record["offset"])] = time.monotonic()
            message = consumer.poll(0)
    consumer.close()
    connection.close()
    waited = sorted(seen[place] - at for place, at in shown.items() if place in seen)
    print(json.dumps({"waited_ms": [round(1000 * w) for w in waited]}))
    assert producing.wait(30) == 0
    assert len(waited) > 20, "too little was relayed while it was looked at"
    print(f"median: {1000 * waited[len(waited) // 2]:.0f} ms")
    assert waited[len(waited) // 2] < 0.3
