"""The database's clock is set back by an hour: what waits is settled all the same, not an hour later.

Seen from the rows it is the same as an hour that was added to every moment in them, and that is how it is done here.
(tests/faults sets the clock of a running Postgres.)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from realmate.conversations.sweep import Sweeper
from realmate.domain.events import Verdict
from store import PATIENT, QUICK, Store, closing, inbound, open_store, opening, replied, saying

OVER_S = 1.0
"""Longer than QUICK's window and tolerance, also for those that were set back by less than them."""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as store:
        yield store


def set_clock_back(store: Store, interval: str = "1 hour") -> None:
    with store.engine.begin() as connection:
        for table, columns in {
            "conversations": ("created_at", "updated_at", "due_at", "group_last_at"),
            "messages": ("arrived_at",),
        }.items():
            moved = ", ".join(f"{column} = {column} + interval '{interval}'" for column in columns)
            connection.execute(text(f"UPDATE {table} SET {moved}"))  # noqa: S608 (names from above)


def replies(store: Store, key: str) -> list[list[str]]:
    view = store.view(key)
    assert view is not None
    assert sorted(message for reply in replied(view) for message in reply) == sorted(inbound(view))
    return replied(view)


def test_a_pending_group_is_answered(store: Store) -> None:
    key = str(uuid.uuid4())
    message = saying(key)
    store.apply(opening(key), message)
    set_clock_back(store)
    Sweeper().sweep_stranded(store.db, store.rules)
    assert replies(store, key) == [[message.message_id]]
    assert store.scalar("SELECT count(*) FROM conversations WHERE due_at IS NOT NULL") == 0


def test_a_message_after_it_starts_a_group_of_its_own(store: Store) -> None:
    key = str(uuid.uuid4())
    before, after = saying(key), saying(key)
    store.apply(opening(key), before)
    set_clock_back(store)
    store.apply(after)
    time.sleep(OVER_S)
    store.sweep()
    assert replies(store, key) == [[before.message_id], [after.message_id]]


def test_a_close_answers_what_is_pending(store: Store) -> None:
    key, message = str(uuid.uuid4()), str(uuid.uuid4())
    store.apply(opening(key), saying(key, message_id=message))
    set_clock_back(store)
    assert store.apply(closing(key)) == [Verdict.CLOSED]
    assert replies(store, key) == [[message]]


def test_a_held_message_expires_and_one_held_later_does_not(store: Store) -> None:
    key = str(uuid.uuid4())
    before, after = saying(key), saying(key)
    store.apply(before)
    set_clock_back(store)
    assert store.apply(before, after) == [Verdict.HOLD_EXPIRED, Verdict.HELD]
    Sweeper().sweep_stranded(store.db, store.rules)
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 1
    assert store.apply(opening(key)) == [Verdict.CREATED]
    view = store.view(key)
    assert view is not None
    assert inbound(view) in ([after.message_id], []), "unless this machine slept for 400 ms just now"


def test_a_clock_set_back_by_less_than_the_window_parts_no_group(store: Store, database_url: str) -> None:
    """A clock that is corrected by a little must not be felt."""
    key = str(uuid.uuid4())
    before, after = saying(key), saying(key)
    with open_store(database_url, PATIENT) as patient:
        patient.apply(opening(key), before)
        set_clock_back(store, "10 minutes")
        patient.apply(after)
        Sweeper().sweep_stranded(patient.db, patient.rules)
        assert patient.scalar("SELECT count(*) FROM messages WHERE kind = 2") == 0
        patient.apply(closing(key))
    assert [sorted(reply) for reply in replies(store, key)] == [sorted([before.message_id, after.message_id])]


def test_what_is_due_in_time_is_not_stranded(store: Store, database_url: str) -> None:
    key = str(uuid.uuid4())
    with open_store(database_url, PATIENT) as patient:
        patient.apply(opening(key), saying(key))
        Sweeper().sweep_stranded(patient.db, patient.rules)
        assert store.scalar("SELECT count(*) FROM messages WHERE kind = 2") == 0
