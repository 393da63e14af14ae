"""Rules that a source has of its own, from the file to the reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from realmate.domain.events import Verdict
from realmate.sources.file import SourceFile
from store import PATIENT, Store, closing, inbound, open_store, opening, replied, saying

SOURCES = """
[sources.quick]
grouping = { window_s = 0.3 }
hold = { tolerance_s = 0.2 }

[sources.slow]

[sources.counting]
grouping = { max_messages = 2 }

[sources.waiting]
grouping = { window_s = 0.4, max_wait_s = 0.6 }

[sources.silent]
reply = { kind = "none" }
grouping = { window_s = 0.1 }
"""


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """All sources that say nothing of their own wait an hour."""
    path = tmp_path / "sources.toml"
    path.write_text(SOURCES)
    with open_store(database_url, PATIENT, SourceFile(path, {}).content) as store:
        yield store


def replies(store: Store, conversation_id: str, source: str) -> list[list[str]]:
    view = store.view(conversation_id, source)
    assert view is not None
    return replied(view)


def said(store: Store, conversation_id: str, source: str) -> str:
    message = saying(conversation_id, source=source)
    assert store.apply(message) == [Verdict.ACCEPTED]
    return message.message_id


def test_one_source_s_window_and_tolerance_are_not_another_s(store: Store) -> None:
    quick, slow = str(uuid4()), str(uuid4())
    early = saying(str(uuid4()), source="quick")
    store.apply(opening(quick, "quick"), opening(slow, "slow"), early)
    first, _ = said(store, quick, "quick"), said(store, slow, "slow")
    time.sleep(0.4)
    store.sweep()
    assert replies(store, quick, "quick") == [[first]]
    assert replies(store, slow, "slow") == []
    assert store.apply(early) == [Verdict.HOLD_EXPIRED]


def test_a_full_group_is_answered_at_once(store: Store) -> None:
    key = str(uuid4())
    store.apply(opening(key, "counting"))
    ids = [said(store, key, "counting") for _ in range(5)]
    assert replies(store, key, "counting") == [ids[:2], ids[2:4]]
    store.apply(closing(key, "counting"))
    assert replies(store, key, "counting") == [ids[:2], ids[2:4], ids[4:]]


def test_a_batch_that_fills_several_groups_answers_each_with_its_own(store: Store) -> None:
    key = str(uuid4())
    messages = [saying(key, source="counting") for _ in range(4)]
    store.apply(opening(key, "counting"), *messages)
    ids = [message.message_id for message in messages]
    assert replies(store, key, "counting") == [ids[:2], ids[2:]]


def test_who_never_pauses_is_answered_all_the_same(store: Store) -> None:
    key = str(uuid4())
    store.apply(opening(key, "waiting"))
    ids = []
    for _ in range(8):
        ids.append(said(store, key, "waiting"))
        store.sweep()
        time.sleep(0.2)
    answered = replies(store, key, "waiting")
    assert len(answered) >= 2
    assert [it for group in answered for it in group] == ids[: sum(map(len, answered))]


def test_a_silent_source_is_never_answered(store: Store) -> None:
    key = str(uuid4())
    store.apply(opening(key, "silent"))
    message_id = said(store, key, "silent")
    time.sleep(0.2)
    store.sweep()
    store.apply(closing(key, "silent"))
    view = store.view(key, "silent")
    assert view is not None
    assert (view.status, inbound(view), replied(view)) == ("CLOSED", [message_id], [])


def test_a_group_that_the_version_before_began_is_answered(store: Store) -> None:
    """It wrote neither its beginning nor its size."""
    key = str(uuid4())
    store.apply(opening(key, "counting"))
    first = said(store, key, "counting")
    store.execute("UPDATE conversations SET group_size = NULL, group_first_at = NULL WHERE id = :key", key=key)
    second = said(store, key, "counting")
    assert replies(store, key, "counting") == [[first, second]]
