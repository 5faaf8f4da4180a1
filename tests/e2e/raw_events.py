"""Events onto the raw topics, as any producer may write them: encoded by their schema, keyed as topics.conf says."""

from __future__ import annotations

import struct

from confluent_kafka import Producer

from ledger_topic import _Bytes, _read, _schema
from stack import Stack

IDS = {"transaction": 1001, "customer": 1004, "product": 1005, "store": 1006}
_SCHEMAS = {name: _schema(name) for name in IDS}


def _long(value: int, to: bytearray) -> None:
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        to.append(value & 0x7F | 0x80)
        value >>= 7
    to.append(value)


def _write(schema, value, to: bytearray) -> None:
    if isinstance(schema, list):
        branch = next(at for at, kind in enumerate(schema) if (kind == "null") == (value is None))
        _long(branch, to)
        return _write(schema[branch], value, to)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict):
        return _write(kind, value, to)
    if kind == "record":
        for field in schema["fields"]:
            _write(field["type"], value[field["name"]], to)
    elif kind == "array":
        if value:
            _long(len(value), to)
            for item in value:
                _write(schema["items"], item, to)
        _long(0, to)
    elif kind == "enum":
        _long(schema["symbols"].index(value), to)
    elif kind in ("int", "long"):
        _long(value, to)
    elif kind == "string":
        text = value.encode()
        _long(len(text), to)
        to += text
    elif kind == "boolean":
        to.append(1 if value else 0)
    else:
        assert kind == "null", kind
    return None


def encode(name: str, event: dict) -> bytes:
    to = bytearray(struct.pack(">bI", 0, IDS[name]))
    _write(_SCHEMAS[name], event, to)
    return bytes(to)


def decode(name: str, value: bytes) -> dict:
    assert struct.unpack(">bI", value[:5]) == (0, IDS[name])
    source = _Bytes(value[5:])
    event = _read(_SCHEMAS[name], source)
    assert source.at == len(source.data)
    return event


def key_of(event: dict) -> str:
    return event["customer_id"] or event["original_transaction_id"] or event["transaction_id"]


def sale(transaction_id: str, customer_id: str | None, amount_minor: int, event_ms: int, **more) -> dict:
    """A sale of one line, from a source that asks for no references."""
    line = {"line_no": 1, "product_id": "P1", "quantity": 1, "unit_price": amount_minor, "discount": 0, "amount": amount_minor,
            "promotion_id": None}
    return {"transaction_id": transaction_id, "event_type": "SALE", "original_transaction_id": None, "event_time": event_ms,
            "store_id": None, "customer_id": customer_id, "currency": "GBP", "total_amount": None, "source": "online_retail",
            "source_ref": "", "channel": None, "lines": [line], **more}


class Till:
    """Writes transactions; partitioned as every producer of ours does it."""

    def __init__(self, stack: Stack, **settings):
        self.failed = 0
        self.producer = Producer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "partitioner": "murmur2_random",
                                  "enable.idempotence": True, "linger.ms": 20, "message.timeout.ms": 300000,
                                  "reconnect.backoff.max.ms": 500, "queue.buffering.max.messages": 500000, **settings})

    def _told(self, error, message) -> None:
        self.failed += error is not None

    def put(self, event: dict) -> None:
        self.put_bytes("transactions", key_of(event).encode(), encode("transaction", event))

    def put_bytes(self, topic: str, key: bytes, value: bytes) -> None:
        self.producer.produce(topic, value, key, on_delivery=self._told)
        self.producer.poll(0)

    def flush(self, timeout_s: float = 120) -> None:
        assert self.producer.flush(timeout_s) == 0 and self.failed == 0, "events were not taken"
