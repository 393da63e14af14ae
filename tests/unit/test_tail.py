"""The tail in memory: what it covers, whom it tells, and what it forgets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from realmate.domain.changes import ERASED_TYPE
from realmate.feed.cursors import Cursor
from realmate.feed.events import Event, MessageEvent
from realmate.feed.reading import Filter, Page, Told
from realmate.query import tail as module
from realmate.query.tail import Tail

AT = datetime(2026, 11, 27, tzinfo=UTC)
ENOUGH = 2**20


def change(position: int) -> Cursor:
    return Cursor(position, AT, 1000 + position)


def message(position: int, conversation: str, content: str = "", source: str = "default") -> Told:
    said = MessageEvent(f"m{position}", "INBOUND", content or f"content {position}", AT, position)
    told = Event(f"evt_{position}", "message.received", AT, source, conversation, {"message": said})
    return Told(told, change(position)._replace(entry=0, place=position))


def erasure(position: int, conversation: str) -> Told:
    return Told(Event(f"evt_{position}", ERASED_TYPE, AT, "default", conversation, {}), change(position))


def page(*told: Told, end: int, first: int) -> Page:
    marks = {position: 1000 + position for position in range(first, end + 1)}
    return Page([*told], change(end), caught_up=True, start=change(first), marks=marks)


@pytest.fixture
def tail() -> Tail:
    """A tail that begins behind position 10, as if somebody wanted it."""
    made = Tail()
    made._from = made._to = change(10)  # noqa: SLF001 (it has no database here)
    made._marks = {10: 1010}  # noqa: SLF001 (the same)
    return made


def keep(tail: Tail, *told: Told, end: int, first: int) -> None:
    tail._keep(page(*told, end=end, first=first))  # noqa: SLF001 (what its greenlet does with each page)


class Follower:
    def __init__(self, **wanted: Any) -> None:
        self.wanted = Filter(**{name: frozenset(values) for name, values in wanted.items()})
        self.pushed: list[tuple[list[str], Cursor]] = []
        self.reads_on = False

    def push(self, data: bytes, cursor: Cursor) -> None:
        self.pushed.append((ids(data), cursor))

    def read_on(self) -> None:
        self.reads_on = True


def ids(data: bytes) -> list[str]:
    return [json.loads(line[6:])["id"] for line in data.decode().split("\n") if line.startswith("data: ")]


def test_it_covers_what_it_has_seen_of_this_log_alone(tail: Tail) -> None:
    keep(tail, message(11, "a"), message(12, "b"), end=12, first=11)
    assert [tail.covers(change(position)) for position in (9, 10, 11, 12, 13)] == [False, True, True, True, False]
    assert not tail.covers(change(11)._replace(mark=7)), "another log has had this position"
    data, cursor, is_end = tail.read(change(10), Filter(), ENOUGH)
    assert (ids(data), cursor, is_end) == (["evt_11", "evt_12"], change(12), True)
    data, cursor, is_end = tail.read(change(10), Filter(conversations=frozenset({"b"})), ENOUGH)
    assert (ids(data), is_end) == (["evt_12"], True)


def test_a_portion_ends_where_it_is_large_enough_and_goes_on_from_there(tail: Tail) -> None:
    keep(tail, *(message(position, "a", "x" * 1000) for position in range(11, 31)), end=30, first=11)
    read, cursor, is_end = [], change(10), False
    while not is_end:
        data, cursor, is_end = tail.read(cursor, Filter(), 3_000)
        assert len(data) < 5_000
        read += ids(data)
    assert read == [f"evt_{position}" for position in range(11, 31)]


def test_each_follower_is_told_what_it_wants(tail: Tail) -> None:
    everything, a, shop, leaves = Follower(), Follower(conversations=["a"]), Follower(sources=["shop"]), Follower()
    for follower in (everything, a, shop, leaves):
        tail.follow(follower)
    tail.unfollow(leaves)
    tail.unfollow(leaves)
    keep(tail, message(11, "a"), message(12, "b", source="shop"), end=12, first=11)
    keep(tail, message(13, "b"), end=13, first=13)
    assert [told for told, _ in everything.pushed] == [["evt_11", "evt_12"], ["evt_13"]]
    assert [told for told, _ in a.pushed] == [["evt_11"]]
    assert [told for told, _ in shop.pushed] == [["evt_12"]]
    assert leaves.pushed == []
    tail._forget()  # noqa: SLF001 (what its greenlet does when the log is another one)
    assert everything.reads_on
    assert not leaves.reads_on
    assert not tail.covers(change(12))


def test_what_is_erased_is_not_kept(tail: Tail) -> None:
    keep(tail, message(11, "a", "segredo"), message(12, "b"), end=12, first=11)
    keep(tail, erasure(13, "a"), end=13, first=13)
    data, _, _ = tail.read(change(10), Filter(), ENOUGH)
    assert ids(data) == ["evt_12", "evt_13"]
    assert b"segredo" not in data


@pytest.mark.parametrize("limit", ["KEPT_EVENTS", "KEPT_BYTES", "KEPT_CHANGES"])
def test_it_is_bounded_and_covers_what_is_left(tail: Tail, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, 100 if limit != "KEPT_BYTES" else 30_000)
    for position in range(11, 1011):
        told = [] if limit == "KEPT_CHANGES" else [message(position, "a", "x" * 100)]
        keep(tail, *told, end=position, first=position)
    assert len(tail._marks) <= 101  # noqa: SLF001 (there is no other way to see it)
    assert len(tail._kept) <= 100  # noqa: SLF001 (the same)
    first = min(tail._marks)  # noqa: SLF001 (the same)
    assert tail.covers(change(first))
    assert not tail.covers(change(first - 1))
    wanted = [] if limit == "KEPT_CHANGES" else [f"evt_{position}" for position in range(first + 1, 1011)]
    assert ids(tail.read(change(first), Filter(), ENOUGH)[0]) == wanted
