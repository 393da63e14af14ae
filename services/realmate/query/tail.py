"""The end of the feed, in memory, as long as anybody waits for news."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from realmate.domain.changes import Touched
from realmate.query import feed
from realmate.query.cursors import Cursor
from realmate.query.feed import Filter
from realmate.runtime.health import health
from realmate.runtime.lookout import Lookout
from realmate.runtime.transaction import Transactions

LOOK_PAUSE_S = 0.05
DRAIN_LOOK_S = 0.5
"""Whoever waits learns within so long that the process drains."""
KEPT_ENTRIES = 50_000


class Tail:
    """The newest changes: whoever waits finds out here whether anything concerns him, and asks Postgres only then."""

    def __init__(self) -> None:
        self._lookout = Lookout()
        self._changes: deque[tuple[int, list[Touched]]] = deque()
        self._entries = 0
        self._from: int | None = None
        """The position behind which all is in `_changes`; None while nobody looks."""
        self._to = 0
        self._names: dict[int, str] = {}

    def wait(self, db: Transactions, after: Cursor, wanted: Filter, deadline: float) -> None:
        """Return when there may be news for this reader behind the cursor; at the deadline (`time.monotonic()`), or
        when the process drains, at the latest. Raises what an outage raises."""
        seen = after.position
        with self._lookout.waiting():
            while (left_s := deadline - time.monotonic()) > 0 and not health.draining:
                if self._from is not None:
                    if seen < self._from or self._concerns(seen, wanted):
                        return
                    seen = self._to
                self._lookout.wait(partial(self._look, db), min(DRAIN_LOOK_S, left_s))

    def _concerns(self, seen: int, wanted: Filter) -> bool:
        for position, entries in reversed(self._changes):
            if position <= seen:
                return False
            if any(wanted.wants(each, self._names) for each in entries):
                return True
        return False

    def _look(self, db: Transactions) -> None:
        """Fetch what is new, again and again, while anybody waits. Then all is forgotten."""
        try:
            self._from = self._to = feed.state(db).last.position
            self._lookout.tell()
            while self._lookout.is_wanted:
                if changes := feed.entries_after(db, self._to):
                    self._names = feed.names_of_sources(db)
                    self._keep(changes)
                    self._lookout.tell()
                else:
                    time.sleep(LOOK_PAUSE_S)
        finally:
            self._from = None
            self._changes.clear()
            self._entries = 0

    def _keep(self, changes: list[tuple[int, list[Touched]]]) -> None:
        self._changes.extend(changes)
        self._entries += sum(len(entries) for _, entries in changes)
        self._to = changes[-1][0]
        while self._entries > KEPT_ENTRIES:
            self._from, entries = self._changes.popleft()
            self._entries -= len(entries)
