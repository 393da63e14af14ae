"""The writer's side of the feed: every transaction adds its change, and changes are numbered after their commit."""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg2
import pytest

from realmate.conversations import change_statements, erasing_statements, reply_statements, statements, upkeep
from realmate.conversations.change_statements import INSERT_CHANGE
from realmate.conversations.erasing import erase_conversation
from realmate.conversations.responding import _finish, _lease
from realmate.conversations.sequencer import Sequencer, number
from realmate.domain.changes import Touched, What, decode, encode
from realmate.domain.model import Rules
from realmate.feed import reading as feed
from realmate.feed.reading import Expired, Filter
from realmate.runtime.database_readiness import SCHEMA_REVISION
from realmate.runtime.transaction import Statement
from store import PATIENT, QUICK, Store, closing, open_store, opening, saying


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as opened:
        yield opened


@pytest.fixture
def patient(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as opened:
        yield opened


def numbered(store: Store) -> list[list[Touched]]:
    """Number everything; the entries of each change, in the order of the positions."""
    while number(store.db):
        pass
    rows = rows_of(store, "SELECT position, touched FROM changes WHERE position IS NOT NULL ORDER BY position")
    assert [position for position, _ in rows] == list(range(1, len(rows) + 1)), "positions have no holes"
    return [list(decode(bytes(touched))) for _, touched in rows]


def rows_of(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def what_of(changes: Sequence[Sequence[Touched]], conversation_id: str) -> list[tuple[int, int, int]]:
    return [
        (each.first_position, each.last_position, each.what)
        for entries in changes
        for each in entries
        if each.conversation_id == conversation_id
    ]


def test_an_entry_is_stored_in_29_bytes_and_read_again() -> None:
    entries = [Touched(str(uuid.uuid4()), 2**31 - 1, 1, 2**31 - 1, What.CLOSED | What.MESSAGES)]
    assert len(encode(entries)) == 29
    assert list(decode(encode(entries * 3))) == entries * 3


def test_a_conversation_s_life_is_told_transaction_by_transaction(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(opening(key))
    store.apply(saying(key), saying(key))
    time.sleep(0.35)
    store.sweep()
    store.apply(saying(key), closing(key))
    erase_conversation(store.db, 0, key)
    assert what_of(numbered(store), key) == [
        (0, 0, What.OPENED),
        (1, 2, What.MESSAGES),
        (3, 3, What.MESSAGES),  # the reply
        (4, 5, What.MESSAGES | What.CLOSED),  # the message, and the reply that the close makes at once
        (0, 0, What.ERASED),
    ]


def test_what_is_held_is_told_when_it_is_visible(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(saying(key), saying(key))
    assert what_of(numbered(store), key) == [], "a held message is nobody's business yet"
    time.sleep(0.1)
    store.apply(saying(key), opening(key))
    assert what_of(numbered(store), key) == [(1, 3, What.OPENED | What.MESSAGES)]


def test_what_waited_in_vain_is_told_as_expired(store: Store) -> None:
    key, later = str(uuid.uuid4()), str(uuid.uuid4())
    store.apply(saying(key), saying(later))
    time.sleep(0.5)
    store.apply(saying(later), opening(later))
    store.sweep()
    changes = numbered(store)
    assert what_of(changes, key) == [(1, 1, What.EXPIRED)]
    assert what_of(changes, later)[0] == (1, 2, What.OPENED | What.MESSAGES | What.EXPIRED)


def test_an_event_that_changes_nothing_is_no_change(store: Store) -> None:
    key = str(uuid.uuid4())
    store.apply(opening(key))
    before = numbered(store)
    store.apply(opening(key))
    store.apply(closing(str(uuid.uuid4())))
    assert numbered(store) == before


def ask_for_a_reply(store: Store, key: str) -> None:
    """Store the request for the reply to a conversation's first message. Its group's end reserved position 2 for it."""
    store.execute(
        "INSERT INTO reply_calls (conversation_id, source_id, seq, first_seq, last_seq, made_at)"
        " VALUES (CAST(:key AS uuid), 0, 2, 1, 1, now())",
        key=key,
    )


def test_a_responder_s_late_reply_gets_the_next_position_and_is_told(patient: Store) -> None:
    """Not the place that its group's end reserved: a reader who is past that would never see it."""
    key = str(uuid.uuid4())
    patient.apply(opening(key), saying(key))
    ask_for_a_reply(patient, key)
    patient.execute("UPDATE conversations SET last_seq = 2, group_first_seq = NULL, due_at = NULL")
    patient.apply(saying(key))
    [call] = _lease(patient.db, 0, 1)
    _finish(patient.db, call, "Olá!")
    assert what_of(numbered(patient), key)[-2:] == [(3, 3, What.MESSAGES), (4, 4, What.MESSAGES)]
    assert rows_of(patient, "SELECT seq, content FROM messages WHERE kind = 2") == [(4, "Olá!")]
    patient.apply(saying(key))
    assert what_of(numbered(patient), key)[-1] == (5, 5, What.MESSAGES)


def test_a_reply_that_waits_for_a_writer_comes_after_what_that_one_wrote(patient: Store) -> None:
    key = str(uuid.uuid4())
    patient.apply(opening(key), saying(key))
    ask_for_a_reply(patient, key)
    [call] = _lease(patient.db, 0, 1)
    finishing = threading.Thread(target=_finish, args=[patient.db, call, "Olá!"])
    with patient.engine.connect() as writer:
        writer.exec_driver_sql("BEGIN")
        writer.exec_driver_sql("UPDATE conversations SET last_seq = 5")
        finishing.start()
        time.sleep(0.5)
        writer.exec_driver_sql("COMMIT")
    finishing.join()
    assert rows_of(patient, "SELECT seq FROM messages WHERE kind = 2") == [(6,)]
    assert what_of(numbered(patient), key)[-1] == (6, 6, What.MESSAGES)


WRITES = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (?:messages|conversations)\b")
BY_THE_UNIT_OF_WORK = {
    *("insert_conversations", "update_conversations", "grow_groups"),
    *("insert_messages", "set_kind", "insert_replies"),
}
"""Their transaction's change is added by `UnitOfWork.save`."""
INVISIBLE = {"set_aside", "date_settled", "date_active"}
"""They change nothing that a reader sees."""


def test_every_statement_that_changes_what_readers_see_adds_a_change() -> None:
    """A new statement that writes to these tables is found here, and must tell of it."""
    modules = (statements, reply_statements, erasing_statements)
    all_statements = [each for module in modules for each in vars(module).values() if isinstance(each, Statement)]
    writing = {each.name for each in all_statements if WRITES.search(each.text)}
    telling = {each.name for each in all_statements if "INSERT INTO changes" in each.text}
    assert writing == telling | BY_THE_UNIT_OF_WORK | INVISIBLE
    assert len(telling) == 5


# --- the order ---


@pytest.fixture
def raw(database_url: str) -> Iterator[Any]:
    """Makes connections that speak SQL by hand."""
    opened: list[Any] = []

    def connect() -> Any:
        connection = psycopg2.connect(database_url)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def test_the_order_is_that_of_the_locks_and_not_that_of_the_transactions_numbers(store: Store, raw: Any) -> None:
    """A gets its number (xid) first and the lock on conversation 2 last; B writes to conversation 2 before it.

    By xid, A's change of conversation 2 would come before B's. This is any two batches over several conversations.
    """
    one, two = sorted(str(uuid.uuid4()) for _ in range(2))
    store.apply(opening(one), opening(two))
    a, b = raw(), raw()
    cursor_a, cursor_b = a.cursor(), b.cursor()
    lock = "SELECT last_seq FROM conversations WHERE id = %s FOR UPDATE"
    cursor_a.execute(lock, [one])
    cursor_a.execute("SELECT pg_current_xact_id()")
    cursor_b.execute(lock, [two])
    cursor_b.execute("SELECT pg_current_xact_id()")
    waiting = threading.Thread(target=cursor_a.execute, args=[lock, [two]])
    waiting.start()
    time.sleep(0.3)
    insert_by_hand(cursor_b, [Touched(two, 0, 6, 6, What.MESSAGES)])
    b.commit()
    waiting.join()
    insert_by_hand(cursor_a, [Touched(one, 0, 1, 1, What.MESSAGES), Touched(two, 0, 7, 7, What.MESSAGES)])
    a.commit()
    assert what_of(numbered(store), two)[-2:] == [(6, 6, What.MESSAGES), (7, 7, What.MESSAGES)]


def insert_by_hand(cursor: Any, entries: list[Touched]) -> None:
    text = INSERT_CHANGE.text.replace("$1", "clock_timestamp()").replace("$2", "%s")
    cursor.execute(text, [encode(entries)])


def test_a_slow_transaction_is_numbered_when_it_commits_and_not_lost(store: Store, raw: Any) -> None:
    """Its number `n` is smaller than that of a change that readers have seen already."""
    slow = raw()
    cursor = slow.cursor()
    slow_key, quick_key = str(uuid.uuid4()), str(uuid.uuid4())
    insert_by_hand(cursor, [Touched(slow_key, 0, 0, 0, What.OPENED)])
    store.apply(opening(quick_key))
    assert what_of(numbered(store), quick_key)
    slow.commit()
    changes = numbered(store)
    assert [entries[0].conversation_id for entries in changes] == [quick_key, slow_key]


def test_the_numbering_sees_what_the_last_holder_of_the_lock_numbered(store: Store, raw: Any) -> None:
    """The lock and the numbering are two statements: in one, the snapshot would be older than the lock."""
    store.apply(opening(str(uuid.uuid4())))
    first = raw()
    cursor = first.cursor()
    cursor.execute("SELECT position FROM feed FOR UPDATE")
    assert number(store.db) == 0, "somebody else does it"
    cursor.execute("UPDATE changes SET position = 1")
    cursor.execute("UPDATE feed SET position = 1")
    first.commit()
    store.apply(opening(str(uuid.uuid4())))
    assert len(numbered(store)) == 2


def test_a_frozen_sequencer_holds_the_feed_up_for_two_seconds_and_no_longer(store: Store) -> None:
    store.apply(opening(str(uuid.uuid4())))
    with store.db.begin() as frozen:
        frozen.add(change_statements.LIMIT_FREEZE, "2000")
        assert frozen.fetch(change_statements.LOCK_FEED)
        began = time.monotonic()
        while not number(store.db):
            assert time.monotonic() - began < 10
            time.sleep(0.05)
        with pytest.raises(Exception, match="connection was lost"):
            frozen.fetch(change_statements.HAS_UNNUMBERED)


def test_many_writers_and_sequencers_lose_nothing_and_keep_each_conversation_s_order(database_url: str) -> None:
    keys = [str(uuid.uuid4()) for _ in range(12)]
    with open_store(database_url, Rules(group_window=timedelta(hours=1))) as store:
        store.apply(*map(opening, keys))
        stop = threading.Event()

        def write(seed: int) -> int:
            choose = random.Random(seed)
            for _ in range(40):
                store.apply(*(saying(key) for key in choose.sample(keys, choose.randint(1, 5))))
            return 40

        def sequence() -> None:
            while not stop.is_set():
                number(store.db, at_once=7)
                time.sleep(0.002)

        with ThreadPoolExecutor(12) as pool:
            sequencers = [pool.submit(sequence) for _ in range(3)]
            written = sum(pool.map(write, range(8)))
            stop.set()
            for each in sequencers:
                each.result()
        changes = numbered(store)
        assert len(changes) == written + 1
        for key in keys:
            ranges = [(first, last) for first, last, what in what_of(changes, key) if what & What.MESSAGES]
            positions = [position for first, last in ranges for position in range(first, last + 1)]
            assert positions == list(range(1, len(positions) + 1)), "each position once, in order"


# --- retention, and versions that write no changes ---


def test_the_oldest_changes_are_forgotten_by_their_position_and_the_last_one_stays(store: Store) -> None:
    for _ in range(4):
        store.apply(opening(str(uuid.uuid4())))
    numbered(store)
    store.execute("UPDATE changes SET at = at - interval '100 hours' WHERE position <> 2")
    upkeep.forget_changes(store.db, 72)
    assert rows_of(store, "SELECT position FROM changes ORDER BY position") == [(2,), (3,), (4,)], "no hole is made"
    store.execute("UPDATE changes SET at = at - interval '100 hours'")
    upkeep.forget_changes(store.db, 72)
    assert rows_of(store, "SELECT position FROM changes") == [(4,)]


def test_what_has_no_position_yet_is_not_forgotten(store: Store) -> None:
    store.apply(opening(str(uuid.uuid4())))
    store.execute("UPDATE changes SET at = at - interval '100 hours'")
    upkeep.forget_changes(store.db, 72)
    assert rows_of(store, "SELECT count(*) FROM changes") == [(1,)]


def test_the_feed_begins_when_no_older_version_is_connected_and_stops_when_one_comes_back(
    store: Store, database_url: str
) -> None:
    def complete_from() -> object:
        Sequencer().look(store.db)
        return store.scalar("SELECT complete_from FROM feed")

    old = psycopg2.connect(database_url, application_name="realmate-conversations")
    store.apply(opening(str(uuid.uuid4())))
    assert complete_from() is None
    old.close()
    time.sleep(0.2)
    assert complete_from() == 2
    store.apply(opening(str(uuid.uuid4())))
    assert complete_from() == 2
    end = feed.state(store.db).last
    current = psycopg2.connect(database_url, application_name=f"realmate-conversations/{SCHEMA_REVISION}")
    assert complete_from() == 2
    old = psycopg2.connect(database_url, application_name="realmate-conversations")
    assert complete_from() is None
    old.close()
    current.close()
    time.sleep(0.2)
    assert complete_from() == 4
    found = feed.read(store.db, end, Filter(), 100, 2**20)
    assert isinstance(found, Expired), "what the older version wrote is in no change, so readers begin anew"
