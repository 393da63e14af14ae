"""The end of the feed, in memory, as long as anybody waits for news: one look at the database serves all readers.

Readers that follow the tail are told of each event as soon as it is read. Those with the same filter are a group: what
they are told is put together once.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from realmate.domain.changes import ERASED_TYPE
from realmate.feed import reading as feed
from realmate.feed.cursors import Cursor
from realmate.feed.events import Event
from realmate.feed.reading import Expired, FeedStarting, Filter, Page
from realmate.query.event_stream import frame
from realmate.runtime.database import is_outage
from realmate.runtime.health import health
from realmate.runtime.lookout import Lookout
from realmate.runtime.transaction import Transactions

LOOK_PAUSE_S = 0.05
OUTAGE_PAUSE_S = 1.0
DRAIN_LOOK_S = 0.5
"""Whoever waits learns within so long that the process drains."""
EVENTS_AT_ONCE = 1_000
BYTES_AT_ONCE = 262_144
KEPT_EVENTS = KEPT_CHANGES = 50_000
KEPT_BYTES = 16_777_216
RECENT_CHANGES = 2_000
"""A tail begins with so much of the past: after a deploy all readers come back at once, and have missed little."""

log = structlog.get_logger(__name__)


class Kept(NamedTuple):
    """An event in memory."""

    event: Event
    cursor: Cursor
    frame: bytes
    """The event as a stream sends it."""


class Follower(Protocol):
    """A reader that follows the tail."""

    @property
    def wanted(self) -> Filter: ...

    def push(self, data: bytes, cursor: Cursor) -> None:
        """Take the next events for this reader, up to the cursor. It never blocks."""

    def read_on(self) -> None:
        """Leave: the tail cannot go on where this reader is. It never blocks."""


class Tail:
    """The newest events, in this process."""

    def __init__(self) -> None:
        self._lookout = Lookout()
        self._kept: list[Kept] = []
        self._bytes = 0
        self._marks: dict[int, int] = {}
        """The marks of the changes that were looked through, by their positions."""
        self._from: Cursor | None = None
        """The place behind which all is in `_kept`; None while nobody looks."""
        self._to: Cursor | None = None
        self.is_at_the_end = False
        """Whether the last look found nothing that is not told. A tail that has just begun lags."""
        self._groups: dict[Filter, dict[Follower, None]] = {}
        self._by_conversation: defaultdict[str | None, set[Filter]] = defaultdict(set)
        """The filters of the groups by the conversations that they name; by None those that name none."""

    @property
    def end(self) -> Cursor | None:
        """The place up to which all followers have been told everything."""
        return self._to

    def enter(self, db: Transactions) -> None:
        """Keep the tail up to date until `leave`."""
        self._lookout.enter(partial(self._look, db))

    def leave(self) -> None:
        self._lookout.leave()

    def wait(self, db: Transactions, after: Cursor, wanted: Filter, deadline: float) -> None:
        """Return when there may be news for this reader behind the cursor; at the deadline (`time.monotonic()`), or
        when the process drains, at the latest. Raises what an outage raises, and FeedStarting."""
        look, seen = partial(self._look, db), after
        with self._lookout.wanting(look):
            while (left_s := deadline - time.monotonic()) > 0 and not health.draining:
                if self._to is not None and seen.key <= self._to.key:
                    if not self.covers(seen) or any(wanted.tells(each.event) for each in self._behind(seen)):
                        return
                    seen = self._to
                self._lookout.wait(look, min(DRAIN_LOOK_S, left_s))

    def covers(self, cursor: Cursor) -> bool:
        """Whether everything behind this cursor is in memory, and the log is still the one that it was made for."""
        if self._from is None or self._to is None or not self._from.key <= cursor.key <= self._to.key:
            return False
        return self._marks.get(cursor.position) == cursor.mark

    def read(self, cursor: Cursor, wanted: Filter, limit_bytes: int) -> tuple[bytes, Cursor, bool]:
        """Return the next events for this reader, of about so many bytes, the place behind them, and whether that is
        all there is in memory. The cursor must be covered."""
        frames: list[bytes] = []
        size = 0
        for each in self._behind(cursor):
            if size >= limit_bytes:
                return b"".join(frames), cursor, False
            if wanted.tells(each.event):
                frames.append(each.frame)
                size += len(each.frame)
            cursor = each.cursor
        return b"".join(frames), self._to or cursor, True

    def follow(self, follower: Follower) -> None:
        """Tell this reader of all that comes behind `end`, until it stops to follow."""
        wanted = follower.wanted
        if wanted not in self._groups:
            for conversation in _conversations(wanted):
                self._by_conversation[conversation].add(wanted)
        self._groups.setdefault(wanted, {})[follower] = None

    def unfollow(self, follower: Follower) -> None:
        """Tell this reader no more. Saying it twice does nothing."""
        wanted = follower.wanted
        group = self._groups.get(wanted, {})
        group.pop(follower, None)
        if group or wanted not in self._groups:
            return
        del self._groups[wanted]
        for conversation in _conversations(wanted):
            self._by_conversation[conversation].discard(wanted)
            if not self._by_conversation[conversation]:
                del self._by_conversation[conversation]

    def _behind(self, cursor: Cursor) -> Sequence[Kept]:
        return self._kept[bisect_right(self._kept, cursor.key, key=lambda each: each.cursor.key) :]

    def _look(self, db: Transactions) -> None:
        """Read what is new, again and again, while anybody wants it. Then all is forgotten."""
        try:
            while self._lookout.is_wanted:
                try:
                    if not self._read(db):
                        time.sleep(LOOK_PAUSE_S)
                except Exception as error:
                    if not isinstance(error, FeedStarting) and not is_outage(error):
                        raise
                    log.warning("cannot read the feed", reason=str(error).partition("\n")[0])
                    self._lookout.tell(error)
                    time.sleep(OUTAGE_PAUSE_S)
        finally:
            self._forget()

    def _read(self, db: Transactions) -> bool:
        """Read the next page. Return whether there may be more."""
        if self._to is None:
            self._from = self._to = feed.recent(db, RECENT_CHANGES)
            self._marks = {self._to.position: self._to.mark}
            self._lookout.tell()
        start, last = self._to, feed.state(db).last
        if (start.key, start.mark) == (last.key, last.mark):
            self.is_at_the_end = True
            return False
        page = feed.read(db, start, Filter(), EVENTS_AT_ONCE, BYTES_AT_ONCE)
        if isinstance(page, Expired) or page.start != start:
            log.warning("the feed is another one: its readers go on by themselves", position=start.position)
            self._forget()
        else:
            self._keep(page)
            self._lookout.tell()
        return True

    def _keep(self, page: Page) -> None:
        new = [Kept(event, cursor, frame(event, cursor)) for event, cursor in page.told]
        self._kept += new
        self._bytes += sum(len(each.frame) for each in new)
        self._marks |= {position: mark for position, mark in page.marks.items() if position <= page.cursor.position}
        self._to = page.cursor
        self.is_at_the_end = page.caught_up
        self._erase({_conversation(each.event) for each in new if each.event.type == ERASED_TYPE})
        self._trim(page.cursor)
        self._tell(new)

    def _erase(self, erased: Collection[tuple[str, str]]) -> None:
        """Forget the contents of what was erased."""
        if erased:
            self._kept = [each for each in self._kept if not each.event.data or _conversation(each.event) not in erased]
            self._bytes = sum(len(each.frame) for each in self._kept)

    def _trim(self, end: Cursor) -> None:
        """Forget the older half of the changes, as often as there is too much."""
        while len(self._marks) > 1 and (
            len(self._kept) > KEPT_EVENTS or self._bytes > KEPT_BYTES or len(self._marks) > KEPT_CHANGES
        ):
            changes = list(self._marks.items())
            self._marks = dict(changes[len(changes) // 2 :])
            position, mark = changes[len(changes) // 2]
            self._from = start = Cursor(position, end.at, mark)
            self._kept = [*self._behind(start)]
            self._bytes = sum(len(each.frame) for each in self._kept)

    def _tell(self, new: Sequence[Kept]) -> None:
        """Push the new events to all who follow, put together once for each group."""
        found: dict[Filter, list[Kept]] = {}
        for each in new:
            for conversation in (None, each.event.conversation_id):
                for wanted in self._by_conversation.get(conversation, ()):
                    if wanted.tells(each.event):
                        found.setdefault(wanted, []).append(each)
        for wanted, kept in found.items():
            data = b"".join([each.frame for each in kept])
            for follower in list(self._groups.get(wanted, ())):
                follower.push(data, kept[-1].cursor)

    def _forget(self) -> None:
        self._from = self._to = None
        self.is_at_the_end = False
        self._kept, self._marks, self._bytes = [], {}, 0
        for follower in [each for group in self._groups.values() for each in group]:
            follower.read_on()


def _conversations(wanted: Filter) -> Iterable[str | None]:
    return (None,) if wanted.conversations is None else wanted.conversations


def _conversation(event: Event) -> tuple[str, str]:
    return event.source, event.conversation_id
