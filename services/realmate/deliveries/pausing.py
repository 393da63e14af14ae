"""Pauses and resumes an endpoint on behalf of a person."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from realmate.deliveries import endpoint_statements
from realmate.feed.cursors import parse_cursor
from realmate.feed.reading import Expired, Filter, window
from realmate.runtime.transaction import Transaction, Transactions


class Found(NamedTuple):
    """An endpoint's row."""

    id: int
    pause_reason: str | None
    cursor: str | None
    """Its place in the feed; None: it has none yet."""


class PlaceForgotten(Exception):
    """The feed is not kept any more from the endpoint's place on."""

    def __init__(self, since: datetime) -> None:
        super().__init__(since)
        self.since = since
        """The moment of the place."""


def find(db: Transactions, name: str) -> Found | None:
    for row in db.fetch(endpoint_statements.FIND, name):
        return Found(*row)
    return None


def pause(transaction: Transaction, found: Found) -> bool:
    """Pause it, with the transaction's commit. Return False where it was paused before."""
    return bool(transaction.fetch(endpoint_statements.PAUSE, found.id, "asked"))


def resume(db: Transactions, transaction: Transaction, found: Found) -> None:
    """Let it go on from its place with the transaction's commit, with all retries due then.

    Raises PlaceForgotten and FeedStarting.
    """
    if found.cursor is not None:
        cursor = parse_cursor(found.cursor)
        if isinstance(window(db, cursor, Filter(), 0), Expired):
            raise PlaceForgotten(cursor.at)
    transaction.add(endpoint_statements.RESUME, found.id)
    transaction.add(endpoint_statements.HURRY, found.id)
