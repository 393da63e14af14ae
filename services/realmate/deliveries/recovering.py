"""Makes deliveries from the tables, for an endpoint whose place the feed has forgotten.

Meanwhile the endpoint is paused. Then its cursor stands where the feed ended when this began, so that nothing is
missed; what happened around that moment may be sent twice, with the same id. Interrupted, it may be begun anew: what
is pending is not added again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from realmate.deliveries import endpoint_statements, recovery_statements, statements
from realmate.domain.changes import MESSAGE_TYPES
from realmate.domain.model import ACTIVE_LAG_S, MessageKind
from realmate.feed.cursors import Cursor
from realmate.feed.places import EventPlace
from realmate.feed.reading import OPENED, state
from realmate.runtime.transaction import Statement, Transactions, uuid_array
from realmate.sources.endpoints import Endpoint

CONVERSATIONS_AT_ONCE = 200
FIRST_ID = "00000000-0000-0000-0000-000000000000"


def recover(db: Transactions, endpoint_id: int, endpoint: Endpoint, since: datetime) -> Iterator[int]:
    """Add all that happened since a moment and is still there, then let the endpoint go on. Raises FeedStarting.

    Yields how many events there were in each portion.
    """
    end = state(db).last
    db.fetch(recovery_statements.BEGIN, endpoint_id)
    with db.begin() as transaction:  # waits for whoever still follows the feed
        transaction.fetch(recovery_statements.LOCK_CURSOR, endpoint_id)
    for source_id, name in db.fetch(recovery_statements.SOURCES):
        if endpoint.sources is None or name in endpoint.sources:
            for conversations in recovery_statements.CONVERSATIONS:
                yield from _of_source(db, _Recovery(endpoint_id, endpoint, since, end), source_id, conversations)
    with db.begin() as transaction:
        transaction.add(statements.MOVE_CURSOR, endpoint_id, end.text(), end.position)
        transaction.add(endpoint_statements.RESUME, endpoint_id)
        transaction.add(endpoint_statements.HURRY, endpoint_id)
        transaction.commit()


class _Recovery:
    """One run for one endpoint."""

    def __init__(self, endpoint_id: int, endpoint: Endpoint, since: datetime, end: Cursor) -> None:
        self.endpoint_id = endpoint_id
        self.endpoint = endpoint
        self.since = since
        self.end = end

    def add(self, db: Transactions, source_id: int, conversations: list[str]) -> int:
        """Add what happened in these conversations; return how many events."""
        found = db.fetch(recovery_statements.EVENTS, uuid_array(conversations), source_id, self.since, self.end.at)
        told = [EventPlace(key, source_id, place, _type(place, kind), at) for key, place, kind, at in found]
        wanted = self.endpoint.events
        told = [each for each in told if wanted is None or each.type in wanted]
        if told:
            with db.begin() as transaction:
                keys, sources, *rest = map(list, zip(*told, strict=True))
                transaction.add(recovery_statements.ADD_MISSING, self.endpoint_id, source_id, uuid_array(keys), *rest)
                transaction.add(statements.OPEN_LANES, self.endpoint_id, uuid_array(keys), sources)
                transaction.commit()
        return len(told)


def _of_source(db: Transactions, recovery: _Recovery, source_id: int, conversations: Statement) -> Iterator[int]:
    """Add what happened in a source's conversations, in the order in which they changed."""
    after, key = recovery.since - timedelta(seconds=ACTIVE_LAG_S), FIRST_ID
    while found := db.fetch(conversations, source_id, after, key, CONVERSATIONS_AT_ONCE):
        yield recovery.add(db, source_id, [each for each, _ in found])
        key, after = found[-1]


def _type(place: int, kind: int | None) -> str:
    if kind is not None:
        return MESSAGE_TYPES[MessageKind(kind)]
    return "conversation.opened" if place == OPENED else "conversation.closed"
