"""Sends an event to an endpoint again, on behalf of a person who looked at an attempt."""

from __future__ import annotations

from typing import NamedTuple

from realmate.deliveries.following import add
from realmate.feed.places import EventPlace
from realmate.runtime.transaction import Statement, Transaction

# Its lock keeps a second request for the same event waiting, until it can see the delivery that the first one made.
_LOCK_ATTEMPT = Statement(
    "lock_attempt",
    ("integer", "bigint"),
    """
    SELECT CAST(conversation_id AS text), source_id, place, type, event_at, event_id,
        (SELECT name FROM sources WHERE sources.id = source_id)
    FROM delivery_attempts WHERE endpoint_id = $1 AND id = $2 FOR UPDATE
    """,
)
_IS_PENDING = Statement(
    "is_delivery_pending",
    ("integer", "uuid", "integer", "integer", "text"),
    """
    SELECT EXISTS (
        SELECT FROM deliveries
        WHERE conversation_id = $2 AND source_id = $3 AND endpoint_id = $1 AND place = $4 AND type = $5
    )
    """,
)
_HURRY_LANE = Statement(
    "hurry_lane",
    ("integer", "uuid", "integer"),
    """
    UPDATE delivery_lanes SET due_at = now()
    WHERE conversation_id = $2 AND source_id = $3 AND endpoint_id = $1 AND state = 0 AND due_at > now()
    """,
)


class Attempted(NamedTuple):
    """What an attempt was about."""

    place: EventPlace
    event_id: str
    source: str


def lock_attempt(transaction: Transaction, endpoint_id: int, attempt_id: int) -> Attempted | None:
    """Return what an attempt was about, until the transaction's end. None: it is not kept, or is another endpoint's."""
    for *place, event_id, source in transaction.fetch(_LOCK_ATTEMPT, endpoint_id, attempt_id):
        return Attempted(EventPlace(*place), event_id, source)
    return None


def send_again(transaction: Transaction, endpoint_id: int, attempted: Attempted) -> None:
    """Make its conversation's turn come at once, with this event in it.

    An event that is pending keeps its place. One that was delivered or given up comes behind those that are pending.
    """
    place = attempted.place
    lane = (endpoint_id, place.conversation_id, place.source_id)
    [(is_pending,)] = transaction.fetch(_IS_PENDING, *lane, place.place, place.type)
    if not is_pending:
        add(transaction, endpoint_id, [place])
    transaction.add(_HURRY_LANE, *lane)
