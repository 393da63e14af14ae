"""The feed without contents: which events it tells after a cursor, and where each stands in its conversation.

Whoever keeps a place reads the event's content when it is needed, so that erasing reaches it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from realmate.domain.model import MessageKind
from realmate.feed.cursors import Cursor
from realmate.feed.reading import Expired, Filter, places, rows_of_entries, window
from realmate.runtime.transaction import Statement, Transactions

_KINDS = Statement(
    "kinds_of_changed",
    ("integer[]", "uuid[]", "integer[]", "integer[]", "integer[]"),
    f"""
    SELECT number, seq, kind
    FROM unnest($1, $2, $3, $4, $5) AS wanted (number, conversation_id, source_id, first, last)
    JOIN messages AS message ON message.conversation_id = wanted.conversation_id
        AND message.source_id = wanted.source_id AND seq BETWEEN first AND last AND kind <> {MessageKind.HELD:d}
    ORDER BY number, seq
    """,
)


class EventPlace(NamedTuple):
    """An event that the feed tells, without its content."""

    conversation_id: str
    source_id: int
    place: int
    """The position of its message, or one of the places in `reading`."""
    type: str
    at: datetime
    """The moment of its change."""


class Places(NamedTuple):
    found: list[EventPlace]
    cursor: Cursor
    """The end of the last change that was looked at."""


class _Kind(NamedTuple):
    seq: int
    kind: int


def read_places(db: Transactions, after: Cursor, wanted: Filter, limit: int) -> Places | Expired:
    """Return the events after the cursor: whole changes, enough for `limit` events. Raises FeedStarting."""
    part = window(db, after, wanted, limit)
    if isinstance(part, Expired):
        return part
    kinds = rows_of_entries(db, _KINDS, part.entries) if wanted.any_message else {}
    found: list[EventPlace] = []
    for number, entry in enumerate(part.entries):
        touched, end = entry.touched, entry.end
        for place, kind, _ in places(entry, [_Kind(*row) for row in kinds.get(number, ())]):
            is_new = end._replace(place=place).key > part.start.key
            if is_new and (wanted.types is None or kind in wanted.types):
                found.append(EventPlace(touched.conversation_id, touched.source_id, place, kind, end.at))
    return Places(found, part.scanned)
