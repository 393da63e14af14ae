"""What may wait for conversations that do not exist yet is bounded, for each of them and for a source."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from realmate.domain.events import Verdict
from realmate.transport.interface import Delivery
from realmate.wire.commands import (
    VERSION,
    MessageCommand,
    Origin,
    UnreadCommand,
    decode_commands,
    encode_commands,
)
from store import PATIENT, QUICK, Store, delivery, inbound, open_store, opening, saying

FEW = replace(PATIENT, hold_max_messages=3, hold_max_bytes=1_000, hold_total_messages=5, hold_total_bytes=2_000)
HELD, TOO_MANY = Verdict.HELD, Verdict.TOO_MANY_HELD


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, FEW) as store:
        yield store


def held(store: Store) -> tuple[object, object]:
    """What the rows say of themselves, which must be what there is."""
    messages = store.scalar("SELECT count(*) FROM messages WHERE kind = 3")
    size = store.scalar("SELECT coalesce(sum(octet_length(content)), 0) FROM messages WHERE kind = 3")
    assert messages == store.scalar("SELECT coalesce(sum(held_messages), 0) FROM conversations")
    assert size == store.scalar("SELECT coalesce(sum(held_bytes), 0) FROM conversations")
    return messages, size


def test_so_many_messages_wait_for_one_conversation_and_no_more(store: Store) -> None:
    key = str(uuid.uuid4())
    messages = [saying(key) for _ in range(5)]
    assert store.apply(*messages) == [HELD, HELD, HELD, TOO_MANY, TOO_MANY]
    assert store.apply(messages[4]) == [TOO_MANY]
    assert held(store) == (3, 6)
    assert store.scalar("SELECT count(*) FROM rejections") == 0
    assert store.apply(opening(key), *messages[2:]) == [Verdict.CREATED, Verdict.DUPLICATE] + 2 * [Verdict.ACCEPTED]
    view = store.view(key)
    assert view is not None
    assert sorted(inbound(view)) == sorted(message.message_id for message in messages)
    assert held(store) == (0, 0)


def test_so_many_bytes_wait_for_one_conversation_and_no_more(store: Store) -> None:
    key = str(uuid.uuid4())
    assert store.apply(saying(key, "é" * 400)) == [HELD]
    assert store.apply(saying(key, "é" * 101), saying(key, "é" * 100)) == [TOO_MANY, HELD]
    assert held(store) == (2, 1_000)


def test_a_message_that_waits_already_is_a_duplicate_however_full_it_is(store: Store) -> None:
    key = str(uuid.uuid4())
    messages = [saying(key) for _ in range(3)]
    store.apply(*messages)
    assert store.apply(saying(key), *messages) == [TOO_MANY, *3 * [Verdict.DUPLICATE]]


def test_what_has_expired_makes_room(database_url: str) -> None:
    with open_store(database_url, replace(QUICK, hold_max_messages=2)) as store:
        key = str(uuid.uuid4())
        assert store.apply(*(saying(key) for _ in range(3))) == [HELD, HELD, TOO_MANY]
        time.sleep(0.6)
        store.sweep()
        assert held(store) == (0, 0)
        assert store.apply(saying(key)) == [HELD]


def test_so_much_waits_for_all_conversations_of_a_source_and_no_other_source_feels_it(store: Store) -> None:
    messages = [saying(str(uuid.uuid4()), source="shop") for _ in range(6)]
    assert store.apply(*messages) == [*5 * [HELD], TOO_MANY]
    assert store.apply(saying(str(uuid.uuid4()), source="other")) == [HELD]
    store.holding.count(store.db)  # what the database says is what was counted here
    assert store.apply(messages[5]) == [TOO_MANY]
    assert store.apply(opening(messages[0].conversation_id, "shop")) == [Verdict.CREATED]
    store.holding.count(store.db)
    assert store.apply(messages[5]) == [HELD]


def test_another_process_knows_what_a_source_has_waiting(store: Store, database_url: str) -> None:
    store.apply(*(saying(str(uuid.uuid4()), "x" * 900, source="shop") for _ in range(3)))
    with open_store(database_url, FEW) as other:
        other.holding.count(other.db)
        assert other.apply(saying(str(uuid.uuid4()), source="shop")) == [TOO_MANY]


def test_a_rejection_for_now_does_not_bind_its_idempotency_key(store: Store) -> None:
    key, message = str(uuid.uuid4()), None
    for number in range(4):
        message = keyed(saying(key), f"key {number}")
        [verdict] = store.apply(message)
    assert message is not None
    assert verdict is TOO_MANY
    store.apply(opening(key))
    assert store.apply(message) == [Verdict.ACCEPTED]


def keyed(command: MessageCommand, key: str) -> MessageCommand:
    return msgspec.structs.replace(command, origin=Origin(command.origin.source, key, b"digest"))


def test_an_intake_of_the_version_before_is_told_that_there_is_no_such_conversation(store: Store) -> None:
    """It knows no verdict `too_many_held`, and would answer nothing of its whole batch."""
    key = str(uuid.uuid4())
    messages = [saying(key) for _ in range(4)]
    sent = delivery(messages[:3] + messages[:1])
    old = of_the_version_before(delivery(messages[3:]))
    assert store.deliver(sent, old) == [[HELD, HELD, HELD, Verdict.DUPLICATE], [Verdict.CONVERSATION_NOT_FOUND]]


def of_the_version_before(sent: Delivery) -> Delivery:
    commands = [command for command in decode_commands(sent.payload) if not isinstance(command, UnreadCommand)]
    payload = msgspec.msgpack.encode((VERSION, commands))
    assert payload != encode_commands(commands)
    return Delivery(sent.id, payload, sent.deadline, sent.redelivered)


def test_rows_of_the_version_before_are_swept_and_counted_from_then_on(database_url: str) -> None:
    """It counts nothing; what it left is taken as it is found."""
    with open_store(database_url, QUICK) as store:
        key = str(uuid.uuid4())
        store.apply(*(saying(key) for _ in range(20)))
        store.execute("UPDATE conversations SET held_messages = NULL, held_bytes = NULL")
        time.sleep(0.6)
        store.apply(saying(key))
        store.sweep()
        assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") in {20, 21}
        held(store)
