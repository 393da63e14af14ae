"""The reader's side of the feed: pages, cursors and what a failover or a restore does to them, on a real Postgres."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmate.conversations import upkeep
from realmate.conversations.erasing import erase_conversation
from realmate.conversations.sequencer import Sequencer, number
from realmate.feed import reading as feed
from realmate.feed.cursors import Cursor, parse_cursor
from realmate.feed.events import Event
from realmate.feed.reading import Expired, FeedStarting, Filter, Page
from realmate.wire.commands import Command
from store import QUICK, Store, closing, open_store, opening, saying

ALL = Filter()
ENOUGH = 2**20


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, QUICK) as opened:
        Sequencer().look(opened.db)
        opened.execute("UPDATE changes SET at = at - interval '2 hours'")  # the feed began long ago, with position 1
        yield opened


def begin(store: Store) -> Cursor:
    number_all(store)
    return feed.oldest(store.db)


def number_all(store: Store) -> None:
    while number(store.db):
        pass


def page(store: Store, after: Cursor, wanted: Filter = ALL, limit: int = 100, limit_bytes: int = ENOUGH) -> Page:
    found = feed.read(store.db, parse_cursor(after.text()), wanted, limit, limit_bytes)
    assert isinstance(found, Page)
    return found


def walk(store: Store, after: Cursor, wanted: Filter = ALL, limit: int = 100, limit_bytes: int = ENOUGH) -> list[Event]:
    """All events from the cursor to the end, page by page."""
    events: list[Event] = []
    for _ in range(10_000):
        found = page(store, after, wanted, limit, limit_bytes)
        assert len(found.events) <= limit
        events += found.events
        if found.caught_up:
            return events
        assert found.cursor.key > after.key, "a page that is not the last leads on"
        after = found.cursor
    raise AssertionError("the feed does not end")


def told(events: Iterable[Event], conversation_id: str) -> list[str]:
    return [
        event.type + "".join(f" {message.position}" for message in event.data.values())
        for event in events
        if event.conversation_id == conversation_id
    ]


def test_a_conversation_is_told_from_its_opening_to_its_erasing(store: Store) -> None:
    start, key = begin(store), str(uuid.uuid4())
    store.apply(saying(key, "Oi"))
    time.sleep(0.1)
    store.apply(opening(key), saying(key, "tudo bem?"))
    time.sleep(0.35)
    store.sweep()
    store.apply(saying(key, "tchau"), closing(key))
    number_all(store)
    events = walk(store, start)
    assert told(events, key) == [
        "conversation.opened",
        "message.received 1",
        "message.received 2",
        "reply.created 3",
        "message.received 4",
        "reply.created 5",
        "conversation.closed",
    ]
    assert [event.data["message"].content for event in events if event.type == "message.received"] == [
        "Oi",
        "tudo bem?",
        "tchau",
    ]
    assert {event.source for event in events} == {"default"}
    erase_conversation(store.db, 0, key)
    number_all(store)
    assert told(walk(store, start), key) == ["conversation.opened", "conversation.closed", "conversation.erased"]


def test_an_event_has_the_same_id_whenever_it_is_told_and_no_two_have_one(store: Store) -> None:
    start, keys = begin(store), [str(uuid.uuid4()) for _ in range(5)]
    store.apply(*map(opening, keys), *map(saying, keys), *map(closing, keys))
    number_all(store)
    ids = [event.id for event in walk(store, start)]
    assert ids == [event.id for event in walk(store, start, limit=1)]
    assert len(set(ids)) == len(ids) == 20


def test_a_page_ends_before_what_is_too_large_and_tells_one_event_at_least(store: Store) -> None:
    start, key = begin(store), str(uuid.uuid4())
    store.apply(opening(key), *(saying(key, "x" * 3_000) for _ in range(4)))
    number_all(store)
    assert len(page(store, start, limit_bytes=7_000).events) == 3
    events = walk(store, start, limit_bytes=1)
    assert told(events, key) == ["conversation.opened", *(f"message.received {seq}" for seq in range(1, 5))]


def test_filters_choose_and_the_cursor_moves_on_all_the_same(store: Store) -> None:
    start = begin(store)
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    store.apply(opening(one), opening(other), saying(one), closing(other))
    store.execute("INSERT INTO sources (name) VALUES ('shop')")
    number_all(store)
    assert told(walk(store, start, Filter(conversations=frozenset({one}))), other) == []
    assert told(walk(store, start, Filter(conversations=frozenset({one}))), one) == [
        "conversation.opened",
        "message.received 1",
    ]
    assert told(walk(store, start, Filter(types=frozenset({"conversation.closed"}))), other) == ["conversation.closed"]
    found = page(store, start, Filter(sources=frozenset({"shop"})))
    assert (found.events, found.caught_up) == ([], True)
    assert found.cursor.position > 0


def test_two_sources_with_one_id_are_told_apart(store: Store) -> None:
    start, key = begin(store), str(uuid.uuid4())
    store.apply(opening(key), opening(key, "shop"), saying(key, "Olá", source="shop"))
    number_all(store)
    assert told(walk(store, start, Filter(sources=frozenset({"default"}))), key) == ["conversation.opened"]
    assert told(walk(store, start, Filter(sources=frozenset({"shop"}))), key) == [
        "conversation.opened",
        "message.received 1",
    ]


def test_what_expired_is_told(store: Store) -> None:
    start, key = begin(store), str(uuid.uuid4())
    store.apply(saying(key, "ninguém?"))
    time.sleep(0.5)
    store.sweep()
    number_all(store)
    assert told(walk(store, start), key) == ["message.expired 1"]


# --- cursors ---


def test_a_cursor_that_is_none_is_rejected() -> None:
    for text in ("", "x", "AAAA", "é", "A" * 40, "-" * 39):
        with pytest.raises(ValueError, match="no cursor"):
            parse_cursor(text)


def test_a_cursor_older_than_what_is_kept_is_told_so_and_where_to_go_on(store: Store) -> None:
    start, keys = begin(store), [str(uuid.uuid4()) for _ in range(4)]
    for key in keys:
        store.apply(opening(key))
    number_all(store)
    second = page(store, start, limit=2).cursor
    store.execute("DELETE FROM changes WHERE position < 5")
    for gone in (start, second):
        found = feed.read(store.db, gone, ALL, 100, ENOUGH)
        assert isinstance(found, Expired)
        assert [event.conversation_id for event in walk(store, found.oldest)] == keys[3:]


def test_the_end_of_a_quiet_feed_is_never_too_old(store: Store) -> None:
    store.apply(opening(str(uuid.uuid4())))
    number_all(store)
    end = feed.state(store.db).last
    store.execute("UPDATE changes SET at = at - interval '1000 hours'")
    upkeep.forget_changes(store.db, 72)
    assert page(store, end).events == []


def test_a_cursor_of_transactions_that_a_failover_lost_is_led_back_a_minute(store: Store) -> None:
    """The standby had neither of the last two changes; their positions are given again, to others."""
    kept, lost, again, later = (str(uuid.uuid4()) for _ in range(4))
    start = begin(store)
    store.apply(opening(kept))
    store.apply(opening(lost))
    number_all(store)
    cursor = page(store, start).cursor
    assert cursor.position == 3
    rewrite(store, from_position=3)
    store.apply(opening(again))
    store.apply(opening(later))
    number_all(store)
    assert {event.conversation_id for event in walk(store, cursor)} >= {again, later}


def test_a_cursor_from_the_future_of_a_shorter_log_is_led_back_too(store: Store) -> None:
    start, kept = begin(store), str(uuid.uuid4())
    store.apply(opening(kept))
    for _ in range(5):
        store.apply(opening(str(uuid.uuid4())))
    number_all(store)
    cursor = page(store, start).cursor
    rewrite(store, from_position=3)
    new = str(uuid.uuid4())
    store.apply(opening(new))
    number_all(store)
    assert [event.conversation_id for event in walk(store, cursor)][-1] == new


def test_after_rewriting_no_more_is_told_again_than_a_minute(store: Store) -> None:
    start = begin(store)
    for _ in range(20):
        store.apply(opening(str(uuid.uuid4())))
    number_all(store)
    cursor = page(store, start).cursor
    store.execute("UPDATE changes SET at = at - interval '1 hour' WHERE position BETWEEN 2 AND 11")
    store.execute("UPDATE changes SET mark = mark + 1 WHERE position = 21")
    assert len(walk(store, cursor)) == 10
    assert len(walk(store, cursor._replace(at=cursor.at - timedelta(minutes=59, seconds=30)))) == 20


def rewrite(store: Store, *, from_position: int) -> None:
    """Make the log as a standby has it that lacks the last transactions."""
    store.execute("DELETE FROM changes WHERE position >= :first", first=from_position)
    store.execute("UPDATE feed SET position = :last", last=from_position - 1)


def test_while_an_older_version_writes_there_is_no_feed(store: Store) -> None:
    store.execute("UPDATE feed SET complete_from = NULL")
    with pytest.raises(FeedStarting):
        feed.state(store.db)


def test_what_came_before_the_feed_was_complete_is_too_old(store: Store) -> None:
    start = begin(store)
    store.apply(opening(str(uuid.uuid4())))
    number_all(store)
    store.execute("UPDATE feed SET complete_from = position")
    found = feed.read(store.db, start, ALL, 10, ENOUGH)
    assert isinstance(found, Expired)
    assert page(store, found.oldest).events == []


# --- folding the feed gives the tables ---


def fold(events: Iterable[Event]) -> dict[str, Any]:
    """What a consumer keeps: conversations with their status and messages."""
    known: dict[str, Any] = {}
    for event in events:
        conversation = known.setdefault(event.conversation_id, {"status": None, "messages": []})
        if event.type == "conversation.opened":
            conversation["status"] = "OPEN"
        elif event.type == "conversation.closed":
            conversation["status"] = "CLOSED"
        elif event.type == "conversation.erased":
            del known[event.conversation_id]
        elif event.type != "message.expired":
            message = event.data["message"]
            positions = [each[0] for each in conversation["messages"]]
            assert not positions or message.position > positions[-1], "in the order of the positions"
            conversation["messages"].append((message.position, message.id, message.type, message.content))
    return {key: value for key, value in known.items() if value["status"] is not None}


def tables(store: Store) -> dict[str, Any]:
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT CAST(conversations.id AS text), status, seq, CAST(messages.id AS text), kind, content"
            " FROM conversations LEFT JOIN messages ON conversation_id = conversations.id AND kind < 3"
            " WHERE status > 0 ORDER BY 1, seq"
        ).all()
    known: dict[str, Any] = {}
    for key, status, seq, message, kind, content in rows:
        conversation = known.setdefault(key, {"status": {1: "OPEN", 2: "CLOSED"}[status], "messages": []})
        if message is not None:
            conversation["messages"].append((seq, message, {1: "INBOUND", 2: "OUTBOUND"}[kind], content))
    return known


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "say", "close", "erase"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["sweep", "wait", "number"]), st.just(0)),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 5), choices=st.randoms(use_true_random=False))
def test_folding_the_feed_gives_the_tables(
    store: Store, steps: list[tuple[str, int]], limit: int, choices: random.Random
) -> None:
    """Whatever happened, with pages of any size, and from any place on which a reader stopped before."""
    store.sweep()
    start, before = begin(store), set(tables(store))
    start = feed.state(store.db).last
    keys = [str(uuid.uuid4()) for _ in range(4)]
    batch: list[Command] = []
    for step, which in steps:
        if step in {"open", "say", "close"}:
            batch.append({"open": opening, "say": saying, "close": closing}[step](keys[which]))  # type: ignore[operator]
            if choices.random() < 0.5:
                continue
        if batch:
            store.apply(*batch)
            batch = []
        if step == "erase":
            erase_conversation(store.db, 0, keys[which])
        elif step == "sweep":
            store.sweep()
        elif step == "wait":
            time.sleep(0.12)
        elif step == "number":
            number(store.db, at_once=choices.randint(1, 3))
    if batch:
        store.apply(*batch)
    number_all(store)
    expected = {key: value for key, value in tables(store).items() if key not in before}
    events = walk(store, start, limit=limit)
    assert fold(events) == expected
    stopped = page(store, start, limit=limit)
    assert fold([*stopped.events, *walk(store, stopped.cursor)]) == expected


def test_a_reader_that_stopped_within_the_last_change_is_told_when_that_is_forgotten(store: Store) -> None:
    start, key = begin(store), str(uuid.uuid4())
    store.apply(opening(key), saying(key), saying(key))
    number_all(store)
    within = page(store, start, limit=2).cursor
    store.execute("UPDATE changes SET at = at - interval '100 hours'")
    upkeep.forget_changes(store.db, 72)
    found = feed.read(store.db, within, ALL, 10, ENOUGH)
    assert isinstance(found, Expired)
    rest = page(store, found.oldest)
    assert (rest.events, rest.cursor, rest.caught_up) == ([], found.oldest, True)
