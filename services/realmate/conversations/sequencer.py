"""Numbers the changes after their commit, so that every reader sees them in one order.

A number that is drawn within a transaction says nothing about when others see it: a quick transaction is seen before a
slow one with a smaller number. So a change gets its position in a later transaction, of which there is one at a time.
For one conversation, the order of `n` is the order of its positions: `n` is drawn when the conversation is locked.

Every process numbers. Where one dies with changes that it has just written, another one numbers them.
"""

from __future__ import annotations

import time

import structlog

from realmate.conversations import change_statements, metrics
from realmate.runtime.database import WRITER_NAME
from realmate.runtime.health import health
from realmate.runtime.transaction import Transactions

NUMBERED_AT_ONCE = 5_000
FREEZE_S = 2.0
"""A sequencer that stops in the middle of its transaction holds the feed up for no longer."""
NUMBER_PAUSE_S = 0.05
WATCH_PAUSE_S = 1.0
RECENT_S = 1.0
"""How long a sequencer looks again after its process has written: at first the lock may be somebody else's."""
SINCE_REVISION = "0015"
"""Versions whose revision is older write no changes, or no `active_at`. While one of them is connected, the feed has
holes and lists miss conversations."""

log = structlog.get_logger(__name__)


class Sequencer:
    """The sequencer of one process."""

    def __init__(self) -> None:
        self._wrote_at = float("-inf")

    def wrote(self) -> None:
        """Say that this process has committed changes, so that they are numbered at once."""
        self._wrote_at = time.monotonic()

    def run(self, db: Transactions) -> None:
        """Look once, then number what this process writes, for a second or until the process drains.

        It is one long run, as a worker for each look would cost more than the looks.
        """
        self.look(db)
        until = time.monotonic() + WATCH_PAUSE_S
        while time.monotonic() < until and not health.draining:
            time.sleep(NUMBER_PAUSE_S)
            if time.monotonic() - self._wrote_at < RECENT_S:
                number(db)

    def look(self, db: Transactions) -> None:
        """Look for writers of an older version, and number all that is committed, whoever wrote it."""
        self._watch_writers(db)
        if db.fetch(change_statements.HAS_UNNUMBERED) == [(True,)]:
            while number(db) == NUMBERED_AT_ONCE:
                pass

    def _watch_writers(self, db: Transactions) -> None:
        for (complete_from,) in db.fetch(change_statements.WATCH_WRITERS, WRITER_NAME, SINCE_REVISION):
            if complete_from is None:
                log.warning("feed of changes stops: an older version is connected, which writes none")
            else:
                log.info("feed of changes begins", after=complete_from)
        [(is_closed, oldest_s)] = db.fetch(change_statements.FEED_STATE)
        metrics.FEED_OPEN.set(not is_closed)
        metrics.UNNUMBERED_SECONDS.set(float(oldest_s))


def number(db: Transactions, at_once: int = NUMBERED_AT_ONCE) -> int:
    """Give the next positions to at most `at_once` changes. Return how many: 0 where somebody else does it now."""
    with db.begin() as transaction:
        transaction.add(change_statements.LIMIT_FREEZE, str(int(FREEZE_S * 1000)))
        locked = transaction.fetch(change_statements.LOCK_FEED)
        if not locked:
            return 0
        [(position,)] = locked
        [(numbered,)] = transaction.fetch(change_statements.NUMBER_CHANGES, position, at_once)
        transaction.commit()
        return int(numbered)
