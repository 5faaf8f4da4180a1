"""10,000 letters as files, with lens-notify killed in between: each is there, once, and whole."""

import collections

from mail_kit import Notify, id_of, parse
from test_mail import bare  # noqa: F401 - a fixture
from test_mail_kill import LETTERS, drive, key_of, truth_of


def test_ten_thousand_files_with_kills(bare):  # noqa: F811
    expected = truth_of(bare.line, "file", LETTERS)
    notify = Notify(bare, 'delivery = "file";')
    try:
        kills = drive(bare, notify, "file", LETTERS)
    finally:
        notify.kill()
    found = collections.defaultdict(collections.Counter)
    for path in (bare.home / "mail").glob("*.eml"):
        message = parse(path.read_bytes())
        assert id_of(message) == path.stem
        found[message["To"].addresses[0].addr_spec][key_of(message)] += 1
    assert kills >= 3, "too fast to be killed: the test says nothing"
    assert {address: dict(subjects) for address, subjects in found.items()} == {a: dict(s) for a, s in expected.items()}
