"""`active_at`, the order of lists: it lags the last change by 60 s at most."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import psycopg2
import pytest

from realmate.conversations import upkeep
from realmate.conversations.sequencer import Sequencer
from store import QUICK, Store, closing, open_store, opening, saying

OFF = "SELECT count(*) FROM conversations WHERE status > 0 AND (active_at IS NULL OR active_at > updated_at{})"
OFF_AT_ALL = OFF.format(" OR active_at < updated_at")
OFF_TOO_FAR = OFF.format(" OR active_at < updated_at - interval '60 s'")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as store:
        Sequencer().look(store.db)
        yield store


def test_it_follows_whatever_settles_a_conversation(store: Store) -> None:
    opened, replied_to, closed, held = (str(uuid.uuid4()) for _ in range(4))
    store.apply(saying(held))
    store.apply(*(opening(key) for key in (opened, replied_to, closed, held)))
    store.apply(saying(replied_to), saying(closed))
    time.sleep(0.6)
    store.sweep()
    store.apply(closing(closed))
    assert store.scalar("SELECT count(*) FROM conversations") == 4
    assert store.scalar(OFF_AT_ALL) == 0


def test_it_follows_a_growing_group_once_a_minute(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(opening(key), saying(key))
    before = store.scalar("SELECT active_at FROM conversations")
    store.apply(saying(key))
    assert store.scalar("SELECT active_at FROM conversations") == before
    store.execute("UPDATE conversations SET active_at = now() - interval '61 s', updated_at = now() - interval '9 s'")
    store.apply(saying(key))
    assert store.scalar(OFF_AT_ALL) == 0


def test_conversations_of_an_older_version_are_dated_once_it_is_gone(store: Store, database_url: str) -> None:
    keys = [str(uuid.uuid4()) for _ in range(50)]
    store.apply(*(opening(key) for key in keys))
    upkeep.date_conversations(store.db)
    assert store.scalar("SELECT undated_from FROM feed") is None
    older = psycopg2.connect(database_url, application_name="realmate-conversations/0014")
    Sequencer().look(store.db)
    store.execute("UPDATE conversations SET active_at = NULL WHERE CAST(id AS text) < '8'")
    store.execute("UPDATE conversations SET updated_at = updated_at + interval '61 s' WHERE CAST(id AS text) > 'c'")
    upkeep.date_conversations(store.db)
    assert store.scalar("SELECT undated_from FROM feed") == 0, "not while it may still write"
    older.close()
    time.sleep(0.2)
    Sequencer().look(store.db)
    upkeep.date_conversations(store.db)
    assert store.scalar(OFF_TOO_FAR) == 0
    assert store.scalar("SELECT undated_from FROM feed") is None


def test_a_large_table_is_dated_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BLOCKS_PER_PORTION", 7)
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    store.execute(
        "INSERT INTO conversations (id, source_id, status, last_seq, created_at, updated_at)"
        " SELECT gen_random_uuid(), 0, 1, 0, now(), now() FROM generate_series(1, 5000)"
    )
    store.execute("UPDATE feed SET undated_from = 0")
    upkeep.date_conversations(store.db)
    assert store.scalar(OFF_AT_ALL) == 0
    assert store.scalar("SELECT undated_from FROM feed") is None
