"""Reads the topics ledger and dead-letter as any program would: read_committed, and lens.ledger decoded by its schema."""

from __future__ import annotations

import json
import struct

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from stack import ROOT, Stack

TICK_SEQ = 2**31 - 1


def read_topic(stack: Stack, topic: str) -> list:
    """All committed records of a topic, in the order of each partition."""
    consumer = Consumer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "group.id": "test-relay", "isolation.level":
                         "read_committed", "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        parts = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in consumer.list_topics(topic, 10).topics[topic].partitions]
        consumer.assign(parts)
        open_parts, records = {p.partition for p in parts}, []
        while open_parts:
            message = consumer.poll(20)
            assert message is not None, f"{topic}: nothing comes from partitions {open_parts}"
            if message.error() is None:
                records.append(message)
            elif message.error().name() == "_PARTITION_EOF":
                open_parts.discard(message.partition())
            else:
                raise AssertionError(message.error())
        return records
    finally:
        consumer.close()


def headers(message) -> dict:
    return {name: (value or b"").decode() for name, value in message.headers() or []}


class _Bytes:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def long(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        size = self.long()
        self.at += size
        return self.data[self.at - size:self.at].decode()


def _read(schema, source: _Bytes):
    if isinstance(schema, list):
        return _read(schema[source.long()], source)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict):
        return _read(kind, source)
    if kind == "record":
        return {field["name"]: _read(field["type"], source) for field in schema["fields"]}
    if kind == "array":
        items = []
        while (count := source.long()) != 0:
            items += [_read(schema["items"], source) for _ in range(count)]
        return items
    if kind == "enum":
        return schema["symbols"][source.long()]
    if kind in ("int", "long"):
        return source.long()
    if kind == "string":
        return source.text()
    assert kind == "null", kind
    return None


def _schema(name: str):
    return json.loads((ROOT / "schemas" / f"{name}.avsc").read_text())


_SCHEMAS = {1010: _schema("ledger"), 1003: _schema("control")}


def decode(value: bytes) -> tuple[str, dict]:
    """("ledger", posting) or ("control", TICK)."""
    magic, schema_id = struct.unpack(">bI", value[:5])
    assert magic == 0
    schema, source = _SCHEMAS[schema_id], _Bytes(value[5:])
    record = _read(schema, source)
    assert source.at == len(source.data), "bytes after the record"
    return schema["name"], record
