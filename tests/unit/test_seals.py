"""Seals: what they are bound to, how long they hold, and the file of their keys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.sources.configuration import ConfigurationError
from realmate.sources.transport_keys import TransportKeys, TransportKeysFile
from realmate.wire import seals
from realmate.wire.seals import BrokenSeal, Sealed, seal, timeout_of

OLD, NEW = b"o" * 64, b"n" * 64
KEYS = TransportKeys((NEW, OLD), takes_unsigned=False)
BATCH = Sealed("batch", "id", "realmate:replies:1", b"payload")


def check_broken(reason: str, keys: TransportKeys, sealed: Sealed, text: str) -> None:
    with pytest.raises(BrokenSeal, match=reason):
        timeout_of(keys, sealed, text)


def test_a_seal_says_how_long_its_caller_waits() -> None:
    assert timeout_of(KEYS, BATCH, seal(KEYS, BATCH, 4321)) == 4321


@pytest.mark.parametrize(
    "other",
    [
        BATCH._replace(direction="reply"),
        BATCH._replace(batch_id="ie"),
        BATCH._replace(reply_to="realmate:replies:2"),
        BATCH._replace(payload=b"Payload"),
        BATCH._replace(batch_id="idr", reply_to="ealmate:replies:1"),
    ],
)
def test_a_seal_holds_for_what_it_was_made_for_alone(other: Sealed) -> None:
    check_broken("signature", KEYS, other, seal(KEYS, BATCH))


def test_every_key_of_the_file_verifies_and_no_other() -> None:
    by_old = seal(TransportKeys((OLD,), takes_unsigned=False), BATCH, 5)

    assert timeout_of(KEYS, BATCH, by_old) == 5
    check_broken("signature", TransportKeys((NEW,), takes_unsigned=False), BATCH, by_old)


def test_a_longer_wait_than_was_sealed_is_noticed() -> None:
    version, at, _, mac = seal(KEYS, BATCH, 5000).split(".")

    check_broken("signature", KEYS, BATCH, f"{version}.{at}.60000.{mac}")


@pytest.mark.parametrize("moved_s", [-seals.VALID_S - 1, seals.VALID_S + 1])
def test_an_old_seal_is_worth_nothing_and_one_from_the_future_neither(
    monkeypatch: pytest.MonkeyPatch, moved_s: float
) -> None:
    text = seal(KEYS, BATCH)
    now = time.time()
    monkeypatch.setattr("realmate.wire.seals.time.time", lambda: now + moved_s)

    check_broken("expired", KEYS, BATCH, text)


def test_what_is_unsigned_passes_where_the_file_says_so_alone() -> None:
    check_broken("unsigned", KEYS, BATCH, "")
    lenient = TransportKeys((NEW,), takes_unsigned=True)
    assert timeout_of(lenient, BATCH, "") is None
    check_broken("signature", lenient, BATCH, "1.2.3.00")


@given(st.text(max_size=300) | st.from_regex(r"1\.\d{1,60}\.\d{1,60}\.[0-9a-f]{0,64}", fullmatch=True))
def test_no_garbage_is_a_seal_or_raises_anything_else(text: str) -> None:
    check_broken("unsigned|signature", KEYS, BATCH, text)


def read(tmp_path: Path, content: bytes) -> TransportKeys:
    path = tmp_path / "transport.keys"
    path.write_bytes(content)
    return TransportKeysFile(path).content


def test_a_file_has_a_key_on_each_line(tmp_path: Path) -> None:
    keys = read(tmp_path, b"\xef\xbb\xbf" + b"a" * 32 + b"  \r\n\n" + b"b" * 200 + b"\n")

    assert len(keys) == 2
    assert not keys.takes_unsigned
    assert read(tmp_path, b"a" * 32).signing == keys.signing


def test_a_file_may_let_in_what_is_unsigned_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "transport.keys"
    path.write_text("unsigned\n" + "a" * 32)
    file = TransportKeysFile(path)
    assert file.content.takes_unsigned
    assert file.remark is not None

    path.write_text("a" * 32)

    assert file.refresh()
    assert not file.content.takes_unsigned
    assert file.remark is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "no key"), (b"unsigned\n", "no key"), (b"short", "line 1.*at least 32"), (b"\xff" * 40, "not UTF-8")],
)
def test_a_wrong_file_is_rejected_in_words_without_the_key(tmp_path: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as rejected:
        read(tmp_path, content)

    assert "short" not in str(rejected.value)
