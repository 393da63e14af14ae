"""Timers as rows: any number of sweepers, one reply a group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from realmate.conversations import metrics
from realmate.conversations.sweep import FULL, Sweeper
from realmate.conversations.upkeep import tidy
from realmate.domain.events import Verdict
from store import QUICK, Store, delivery, inbound, open_store, opening, replied, saying

OVER_S = 0.6  # longer than QUICK's window and tolerance


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as store:
        yield store


def test_a_group_is_answered_once_its_window_is_over_and_not_before(store: Store) -> None:
    key = str(uuid.uuid4())
    first, second = saying(key, second=1), saying(key, second=2)
    store.apply(opening(key), second, first)
    store.sweep()
    view = store.view(key)
    assert view is not None
    if not replied(view):  # unless this machine slept for 300 ms just now
        time.sleep(OVER_S)
        store.sweep()
        view = store.view(key)
        assert view is not None
    assert replied(view) == [[first.message_id, second.message_id]]
    reply = view.messages[-1]
    assert reply.content == f"Mensagens recebidas:\n{first.message_id}\n{second.message_id}"


def test_nothing_is_due_twice(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(opening(key), saying(key))
    time.sleep(OVER_S)
    for _ in range(3):
        store.sweep()
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 2") == 1
    assert store.scalar("SELECT count(*) FROM conversations WHERE due_at IS NOT NULL") == 0


def test_many_sweepers_at_once_write_one_reply_a_group(store: Store) -> None:
    """More rows than one transaction takes, four sweepers, messages still arriving: exactly one reply a group."""
    keys = [str(uuid.uuid4()) for _ in range(FULL.conversations * 2 + 100)]
    store.apply(*map(opening, keys), *map(saying, keys))
    time.sleep(OVER_S)
    with ThreadPoolExecutor(6) as pool:
        sweeps = [pool.submit(Sweeper().sweep, store.db, store.rules) for _ in range(4)]
        late = [pool.submit(store.apply, *[saying(key) for key in keys[start::20]]) for start in range(20)]
        futures: list[Future[Any]] = [*sweeps, *late]
        for future in futures:
            future.result()
    time.sleep(OVER_S)
    store.sweep()
    for key in keys:
        view = store.view(key)
        assert view is not None
        assert [len(reply) for reply in replied(view)] == [1, 1], "two groups, for the second came after the window"
        assert sorted(message for reply in replied(view) for message in reply) == sorted(inbound(view))


def test_a_late_sweep_does_not_merge_groups(store: Store) -> None:
    """The next message answers the overdue group before it starts its own."""
    key = str(uuid.uuid4())
    first, second = saying(key), saying(key)
    store.apply(opening(key), first)
    time.sleep(OVER_S)
    store.apply(second)
    time.sleep(OVER_S)
    store.sweep()
    view = store.view(key)
    assert view is not None
    assert replied(view) == [[first.message_id], [second.message_id]]


def test_a_held_message_expires_and_is_kept(store: Store) -> None:
    key = str(uuid.uuid4())
    message = saying(key)
    before = metrics.EXPIRED._value.get()  # noqa: SLF001 (prometheus_client has no other way to read a counter)
    assert store.apply(message) == [Verdict.HELD]
    time.sleep(OVER_S)
    store.sweep()
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 1
    assert metrics.EXPIRED._value.get() == before + 1  # noqa: SLF001
    assert store.apply(opening(key), message) == [Verdict.CREATED, Verdict.HOLD_EXPIRED]
    view = store.view(key)
    assert view is not None
    assert view.messages == []


def test_each_held_message_waits_its_own_time(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(saying(key))
    time.sleep(OVER_S)
    second = saying(key)
    store.apply(second)
    store.sweep()
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 1
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 3") == 1
    time.sleep(OVER_S)
    store.sweep()
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 2


def test_tidying_forgets_old_batches_only(store: Store) -> None:
    store.deliver(delivery([opening(str(uuid.uuid4()))]), delivery([opening(str(uuid.uuid4()))]))
    with store.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE applied_batches SET applied_at = applied_at - interval '1 day'"
                " WHERE id = (SELECT min(id) FROM applied_batches)"
            )
        )
    tidy(store.db)
    assert store.scalar("SELECT count(*) FROM applied_batches") == 1
