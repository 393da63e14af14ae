"""Follows the feed for each endpoint: what is new becomes deliveries, with the cursor behind it, in one commit.

So each event becomes exactly one delivery an endpoint, however many processes follow and whichever of them dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from realmate.deliveries import statements
from realmate.deliveries.registry import Registry, pause
from realmate.feed.cursors import Cursor, parse_cursor
from realmate.feed.places import EventPlace, Places, read_places
from realmate.feed.reading import Expired, FeedStarting, Filter
from realmate.runtime.health import health
from realmate.runtime.transaction import Transaction, Transactions, uuid_array
from realmate.sources.endpoint_file import Endpoints
from realmate.sources.endpoints import Endpoint

EVENTS_AT_ONCE = 1_000
LOOK_PAUSE_S = 0.05
RUN_S = 1.0


def run(db: Transactions, registry: Registry, endpoints: Callable[[], Endpoints]) -> None:
    """Follow for a second, or until the process drains.

    It is one long run, as a worker for each look would cost more than the looks.
    """
    until = time.monotonic() + RUN_S
    while time.monotonic() < until and not health.draining:
        if not follow_all(db, registry, endpoints()):
            time.sleep(LOOK_PAUSE_S)


def follow_all(db: Transactions, registry: Registry, endpoints: Endpoints) -> bool:
    """Make the next deliveries of every endpoint that is behind. Return whether there were any."""
    known = registry.known(endpoints)
    if not known:
        return False
    behind = [key for (key,) in db.fetch(statements.BEHIND, list(known))]
    return sum(follow(db, key, known[key]) for key in behind) > 0


def follow(db: Transactions, endpoint_id: int, endpoint: Endpoint) -> bool:
    """Make the next deliveries of one endpoint. Return False where another process does, or nothing can be done now."""
    with db.begin() as transaction:
        locked = transaction.fetch(statements.LOCK_CURSOR, endpoint_id)
        if not locked:
            return False
        cursor = parse_cursor(locked[0][0])
        page = _next(db, cursor, endpoint)
        if isinstance(page, Places):
            add(transaction, endpoint_id, page.found)
            transaction.add(statements.MOVE_CURSOR, endpoint_id, page.cursor.text(), page.cursor.position)
            transaction.commit()
            return True
    if isinstance(page, Expired):
        pause(db, endpoint_id, endpoint.name, "expired", since=cursor.at.isoformat())
    return False


def _next(db: Transactions, cursor: Cursor, endpoint: Endpoint) -> Places | Expired | None:
    """Return the next events of an endpoint; None while the feed starts."""
    try:
        return read_places(db, cursor, Filter(endpoint.sources, None, endpoint.events), EVENTS_AT_ONCE)
    except FeedStarting:
        return None


def add(transaction: Transaction, endpoint_id: int, places: Iterable[EventPlace]) -> None:
    """Add deliveries in this order, and open their lanes."""
    rows = [*zip(*places, strict=True)]
    if rows:
        conversations, sources, where, types, moments = rows
        transaction.add(
            statements.ADD_DELIVERIES,
            endpoint_id,
            uuid_array(conversations),
            list(sources),
            list(where),
            list(types),
            list(moments),
        )
        transaction.add(statements.OPEN_LANES, endpoint_id, uuid_array(conversations), list(sources))
