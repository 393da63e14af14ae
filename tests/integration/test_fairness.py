"""What one source piles up is settled in parts, and no other source's replies wait for it."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from realmate.conversations import metrics
from realmate.conversations.sweep import Sweeper
from store import QUICK, Store, inbound, open_store, opening, replied, saying

OVER_S = 0.6  # longer than QUICK's window and tolerance
HARD_TO_COMPRESS = "".join(random.Random(13).choices("ab", k=195_000))
SHORT_TIMEOUT_MS = 800
LATEST_S = """
    SELECT CAST(max(extract(epoch FROM reply.arrived_at - message.arrived_at)) - 0.3 AS float8) AS beyond_the_window
    FROM messages AS reply JOIN messages AS message USING (conversation_id, source_id)
    WHERE reply.kind = 2 AND message.kind = 1
"""
SLEEP_ON_REPLIES_TO = """
    CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(10); RETURN NEW; END $$;
    CREATE TRIGGER sleep BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.kind = 2 AND NEW.conversation_id = '{}') EXECUTE FUNCTION sleep()
"""
FAIL_ON_EXPIRING = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
    CREATE TRIGGER fail BEFORE UPDATE ON messages FOR EACH ROW
    WHEN (NEW.conversation_id = '{}') EXECUTE FUNCTION fail()
"""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as store:
        yield store


def test_more_held_bytes_than_one_statement_can_expire_in_time_expire_in_parts(database_url: str) -> None:
    """The hardening issue's first case in its small form: the sweep tried it again, identically, for ever."""
    with open_store(f"{database_url}?options=-cstatement_timeout%3D{SHORT_TIMEOUT_MS}", QUICK) as store:
        key = str(uuid.uuid4())
        for _ in range(15):
            store.apply(*(saying(key, HARD_TO_COMPRESS) for _ in range(10)))
        time.sleep(OVER_S)
        store.sweep()
        assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 150
        assert store.scalar("SELECT count(*) FROM rejections WHERE code = 'expired'") == 150
        assert store.scalar("SELECT count(*) FROM conversations WHERE due_at IS NOT NULL") == 0


def test_no_source_waits_for_what_another_has_piled_up(store: Store) -> None:
    """60 MB fall due at once; meanwhile somebody else says something every quarter of a second.

    No reply is late by half the time that the 60 MB take, however slow the machine is.
    """
    for _ in range(5):
        conversation = str(uuid.uuid4())
        for _ in range(6):
            store.apply(*(saying(conversation, HARD_TO_COMPRESS, source="hostile") for _ in range(10)))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep_until, stop, store)
        began_at = time.monotonic()
        while store.scalar("SELECT count(*) FROM messages WHERE kind = 3"):
            key = str(uuid.uuid4())
            store.apply(opening(key, "small"), saying(key, source="small"))
            time.sleep(0.25)
        backlog_s = time.monotonic() - began_at
        time.sleep(2 * OVER_S)
        stop.set()
        sweeping.result()
    late_s = store.scalar(LATEST_S)
    assert isinstance(late_s, float)
    assert late_s < backlog_s / 2
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 300
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 1") == store.scalar(
        "SELECT count(*) FROM messages WHERE kind = 2"
    )


def sweep_until(stop: threading.Event, store: Store) -> None:
    sweeper = Sweeper()
    while not stop.wait(0.1):
        sweeper.sweep(store.db, store.rules)


def test_a_conversation_that_cannot_be_settled_is_set_aside_and_settled_later(store: Store) -> None:
    """Whatever is wrong with it: here Postgres sleeps on its reply for longer than any statement may take."""
    bad, good, neighbour = (str(uuid.uuid4()) for _ in range(3))
    store.execute(SLEEP_ON_REPLIES_TO.format(bad))
    store.apply(opening(bad, "odd"), saying(bad, source="odd"))
    store.apply(opening(good, "odd"), saying(good, source="odd"))
    store.apply(opening(neighbour, "other"), saying(neighbour, source="other"))
    before = set_aside("odd")
    time.sleep(OVER_S)
    sweeper = Sweeper()
    store.sweep(sweeper)
    assert [len(answers(store, key)) for key in (bad, good, neighbour)] == [0, 1, 1]
    assert set_aside("odd") == before + 1
    later = "SELECT failed_sweeps FROM conversations WHERE due_at > now() + interval '2 seconds'"
    assert store.scalar(later) == 1
    sweeper.sweep_stranded(store.db, store.rules)
    assert store.scalar(later) == 1, "it is not taken for one that a clock set back has stranded"
    store.execute("DROP TRIGGER sleep ON messages")
    store.execute("UPDATE conversations SET due_at = now() - interval '1 second' WHERE failed_sweeps IS NOT NULL")
    store.sweep(sweeper)
    assert len(answers(store, bad)) == 1
    assert store.scalar("SELECT count(*) FROM conversations WHERE failed_sweeps IS NOT NULL") == 0


def test_a_held_message_that_cannot_be_settled_stops_nobody(store: Store) -> None:
    """A failure that is no timeout, on one conversation of many in one portion."""
    keys = [str(uuid.uuid4()) for _ in range(20)]
    store.execute(FAIL_ON_EXPIRING.format(keys[7]))
    store.apply(*(saying(key) for key in keys for _ in range(3)))
    time.sleep(OVER_S)
    store.sweep()
    assert store.scalar("SELECT count(*) FROM messages WHERE kind = 4") == 57
    assert store.scalar("SELECT string_agg(id::text, ',') FROM conversations WHERE failed_sweeps = 1") == keys[7]


def answers(store: Store, key: str) -> list[list[str]]:
    view = store.view(key)
    assert view is not None
    assert len(inbound(view)) == 1
    return replied(view)


def set_aside(source: str) -> float:
    count: float = metrics.SET_ASIDE.labels(source)._value.get()  # noqa: SLF001 (prometheus_client has no other way)
    return count
