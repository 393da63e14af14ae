"""Idempotency keys: the same request again gets the very answer it got the first time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from uuid import uuid4

import msgspec
import pytest

from realmate.conversations import upkeep
from realmate.domain.events import Verdict
from realmate.wire.commands import Command, Origin
from store import PATIENT, Store, closing, delivery, inbound, open_store, opening, saying


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


def keyed(command: Command, key: str, *, body: str | None = None) -> Command:
    """The command as it comes with this key; the body is what its digest is made of."""
    digest = blake2b((body or repr(command)).encode(), digest_size=16).digest()
    return msgspec.structs.replace(command, origin=Origin(command.origin.source, key, digest))


def test_the_first_answer_comes_again_success_and_rejection_alike(store: Store) -> None:
    conversation_id = str(uuid4())
    first, second = keyed(opening(conversation_id), str(uuid4())), keyed(opening(conversation_id), str(uuid4()))
    assert store.apply(first) == [Verdict.CREATED]
    assert store.apply(second) == [Verdict.CONVERSATION_EXISTS]
    assert store.apply(closing(conversation_id)) == [Verdict.CLOSED]
    for _ in range(2):
        assert store.apply(first) == [Verdict.CREATED]
        assert store.apply(second) == [Verdict.CONVERSATION_EXISTS]


def test_what_changed_meanwhile_does_not_change_the_answer(store: Store) -> None:
    conversation_id, message_id = str(uuid4()), str(uuid4())
    close = keyed(closing(conversation_id), str(uuid4()))
    assert store.apply(close) == [Verdict.CONVERSATION_NOT_FOUND]
    assert store.apply(opening(conversation_id)) == [Verdict.CREATED]
    assert store.apply(close) == [Verdict.CONVERSATION_NOT_FOUND]
    assert store.apply(saying(conversation_id, message_id=message_id)) == [Verdict.ACCEPTED]
    view = store.view(conversation_id)
    assert view is not None
    assert (view.status, inbound(view)) == ("OPEN", [message_id])


def test_the_key_with_another_body_is_a_mismatch_and_changes_nothing(store: Store) -> None:
    key, conversation_id = str(uuid4()), str(uuid4())
    assert store.apply(keyed(opening(conversation_id), key)) == [Verdict.CREATED]
    assert store.apply(keyed(closing(conversation_id), key)) == [Verdict.IDEMPOTENCY_MISMATCH]
    assert store.apply(keyed(opening(conversation_id), key)) == [Verdict.CREATED]
    view = store.view(conversation_id)
    assert view is not None
    assert view.status == "OPEN"


def test_in_one_batch_the_first_of_a_key_is_decided(store: Store) -> None:
    key, conversation_id = str(uuid4()), str(uuid4())
    open_it, close_it = keyed(opening(conversation_id), key), keyed(closing(conversation_id), key)
    assert store.apply(open_it, open_it, opening(conversation_id), close_it) == [
        Verdict.CREATED,
        Verdict.CREATED,
        Verdict.CONVERSATION_EXISTS,
        Verdict.IDEMPOTENCY_MISMATCH,
    ]


def test_a_batch_that_has_both_new_and_known_keys_keeps_its_order(store: Store) -> None:
    old, new = str(uuid4()), str(uuid4())
    first, second = keyed(opening(old), str(uuid4())), keyed(opening(new), str(uuid4()))
    store.apply(first)
    assert store.apply(second, first, saying(old), second) == [
        Verdict.CREATED,
        Verdict.CREATED,
        Verdict.ACCEPTED,
        Verdict.CREATED,
    ]


def test_one_source_s_key_is_not_another_s(store: Store) -> None:
    key, conversation_id = str(uuid4()), str(uuid4())
    assert store.apply(keyed(opening(conversation_id, "shop"), key)) == [Verdict.CREATED]
    assert store.apply(keyed(closing(conversation_id, "store"), key)) == [Verdict.CONVERSATION_NOT_FOUND]


@pytest.mark.parametrize("_", range(5))
def test_of_many_at_once_one_is_decided_and_all_get_its_answer(store: Store, _: int) -> None:
    """Each has another message id, so that only the key can tell that they are one."""
    key, conversation_id = str(uuid4()), str(uuid4())
    store.apply(opening(conversation_id))
    barrier = threading.Barrier(8)

    def say(_: int) -> list[Verdict]:
        barrier.wait()
        return store.apply(keyed(saying(conversation_id), key, body="the same"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(say, range(8))) == [[Verdict.ACCEPTED]] * 8
    view = store.view(conversation_id)
    assert view is not None
    assert len(inbound(view)) == 1


def test_batches_with_the_same_keys_in_any_order_do_not_wait_in_a_circle(store: Store) -> None:
    commands = [keyed(opening(str(uuid4())), str(uuid4())) for _ in range(30)]
    turns = [commands[start:] + commands[:start] for start in range(0, 30, 5)]
    with ThreadPoolExecutor(len(turns)) as pool:
        for verdicts in pool.map(lambda turn: store.apply(*turn), turns):
            assert verdicts == [Verdict.CREATED] * 30


def test_what_was_not_committed_has_no_marker(store: Store) -> None:
    """Nothing was promised: the same request again is decided as if it came for the first time."""
    command = keyed(opening(str(uuid4())), str(uuid4()))
    assert store.deliver(delivery([command], timeout_s=0)) == [None]
    assert store.apply(command) == [Verdict.CREATED]


def test_a_key_is_forgotten_after_a_day(store: Store) -> None:
    key, conversation_id = str(uuid4()), str(uuid4())
    store.apply(keyed(opening(conversation_id), key))
    upkeep.forget_keys(store.db)
    assert store.apply(keyed(closing(conversation_id), key)) == [Verdict.IDEMPOTENCY_MISMATCH]
    store.execute("UPDATE idempotency_keys SET first_at = first_at - interval '24 hours' WHERE key = :key", key=key)
    upkeep.forget_keys(store.db)
    assert store.apply(keyed(closing(conversation_id), key)) == [Verdict.CLOSED]
