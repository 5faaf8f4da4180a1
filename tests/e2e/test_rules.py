"""`lens rules`: checked, stored insert-only, announced once; and what was interrupted in between heals."""

import pathlib

import pytest

from stack import ROOT

DEFAULT = ROOT / "deploy" / "rules" / "default.conf"
EXAMPLE = ROOT / "deploy" / "rules" / "example.conf"


def versions(stack):
    return [row["version"] for row in stack.lens("rules", "show")]


def announced(stack):
    """Versions on the topic, read as any consumer would."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "group.id": "test-rules", "auto.offset.reset": "earliest"})
    partition = TopicPartition("loyalty-rules", 0, 0)
    low, high = consumer.get_watermark_offsets(partition, timeout=10)
    consumer.assign([partition])
    found = []
    while len(found) < high - low:
        message = consumer.poll(10)
        assert message is not None and message.error() is None
        zigzag = message.value()[5]
        found.append(zigzag >> 1)
    consumer.close()
    return found


def test_up_publishes_the_default_set_once(stack):
    shown = stack.lens("rules", "show")
    assert shown[0]["version"] == 1 and shown[0]["effective_from"] is None
    assert shown[0]["document"] == DEFAULT.read_text()
    stack.up()
    assert stack.query("select count(*) from loyalty.rules where document = %s", DEFAULT.read_text()) == [(1,)]


def test_publish_is_a_dry_run_unless_asked(stack):
    before = versions(stack)
    done = stack.run("rules", "publish", EXAMPLE)
    assert done.returncode == 0 and "big basket" in done.stdout and "--yes" in done.stderr
    assert versions(stack) == before


def test_publish_stores_and_announces_and_says_what_is_known(stack, tmp_path):
    document = tmp_path / "new.conf"
    document.write_text(EXAMPLE.read_text().replace('"Example"', '"Next"'))
    first = stack.lens("rules", "publish", document, "--yes")
    assert first["new"] and first["version"] == versions(stack)[-1]
    again = stack.lens("rules", "publish", document, "--yes")
    assert not again["new"] and again["version"] == first["version"]
    assert stack.run("rules", "publish", document, "--yes").stderr.strip().endswith("nothing new")


def test_what_was_stored_and_not_announced_is_announced(stack, tmp_path):
    pytest.importorskip("confluent_kafka")
    document = tmp_path / "torn.conf"
    document.write_text(DEFAULT.read_text().replace('"Default"', '"Torn"'))
    stack.query("insert into loyalty.rules (version, effective_from, document, sha256)"
                " select max(version) + 1, '-infinity', %s, 'x' from loyalty.rules", document.read_text())
    torn = versions(stack)[-1]
    assert torn not in announced(stack)
    done = stack.run("rules", "publish", document, "--yes")
    assert done.returncode == 0 and "announced now" in done.stderr
    assert announced(stack).count(torn) == 1
    assert announced(stack) == sorted(announced(stack))


@pytest.mark.parametrize("text,words", [
    ("name = \"x\";", "the rule set has no effective_from"),
    (DEFAULT.read_text().replace("points = 1", "points = one"), "syntax error"),
    (DEFAULT.read_text().replace("points = 1", "point = 1"), "a rule has no key \"point\""),
])
def test_a_bad_document_is_refused_with_file_and_line(stack, tmp_path, text, words):
    document = tmp_path / "bad.conf"
    document.write_text(text)
    before = versions(stack)
    for verb in (["check"], ["publish", "--yes"]):
        done = stack.run("rules", *verb, document)
        assert done.returncode == 3 and words in done.stderr and f"{document}:" in done.stderr
    assert versions(stack) == before


def test_no_such_file_or_version(stack):
    assert stack.run("rules", "check", pathlib.Path("/nowhere.conf")).returncode == 1
    assert stack.run("rules", "show", "4711").returncode == 1
    assert stack.run("rules", "show", "x").returncode == 2
    assert stack.run("rules").returncode == 2


def test_published_sets_cannot_be_changed(stack):
    with pytest.raises(Exception, match="never changed"):
        stack.query("update loyalty.rules set document = 'x'")
