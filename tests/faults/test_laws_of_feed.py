"""Each law of the feed finds what is against it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from cases import Terms
from feed_reader import Told
from laws_of_feed import check_feed
from realmate.domain.model import MessageKind, Status
from stored import Stored, StoredConversation, StoredMessage

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(timedelta(seconds=1), timedelta(seconds=1), EPOCH)
KEY = "6a41b347-8d80-4ce9-84ba-7af66f369f6a"
STORED = Stored(
    {KEY: StoredConversation(KEY, Status.CLOSED, EPOCH, EPOCH)},
    {
        name: StoredMessage(name, KEY, seq, kind, f"content of {name}", EPOCH, EPOCH)
        for name, seq, kind in (
            ("first", 1, MessageKind.INBOUND),
            ("second", 2, MessageKind.INBOUND),
            ("reply", 3, MessageKind.OUTBOUND),
        )
    },
)
TOLD = [
    Told(1.0, "conversation.opened", KEY, "default"),
    Told(2.0, "message.received", KEY, "default", "first", 1, "content of first"),
    Told(3.0, "message.received", KEY, "default", "second", 2, "content of second"),
    Told(4.0, "reply.created", KEY, "default", "reply", 3, "content of reply"),
    Told(5.0, "conversation.closed", KEY, "default"),
]


def kinds(told: list[Told], stored: Stored = STORED) -> list[str]:
    return [each.kind for each in check_feed(told, stored, TERMS, but_of=["hostile"])]


def test_a_whole_feed_is_well() -> None:
    assert kinds(TOLD) == []
    assert kinds([*TOLD, Told(6.0, "message.received", "x", "hostile", "y", 1, "z")]) == []


def test_what_is_missing_is_found() -> None:
    for number in range(len(TOLD)):
        assert kinds(TOLD[:number] + TOLD[number + 1 :]) == ["lost"]


def test_what_is_invented_is_found() -> None:
    assert kinds([*TOLD, Told(6.0, "message.received", KEY, "default", "other", 4, "x")]) == ["wrong"]
    assert kinds([*TOLD[:-1], msgspec.structs.replace(TOLD[-1], conversation="x")]) == ["lost", "wrong"]
    assert kinds([TOLD[0], msgspec.structs.replace(TOLD[1], content="x"), *TOLD[2:]]) == ["wrong"]
    still_open = replace(STORED, conversations={KEY: replace(STORED.conversations[KEY], status=Status.OPEN)})
    assert kinds(TOLD, still_open) == ["wrong"]


def test_a_wrong_order_and_a_repetition_are_found() -> None:
    assert kinds([TOLD[0], TOLD[2], TOLD[1], *TOLD[3:]]) == ["wrong"]
    assert kinds([*TOLD, TOLD[-1]]) == ["duplicated"]


def test_what_the_reader_could_not_do_is_found() -> None:
    assert kinds([*TOLD, Told(6.0, problem="a stream was answered 500")]) == ["lost"]
