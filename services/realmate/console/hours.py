"""Counts the accepted events of each source and hour, from the feed: nothing is added to the way of an event.

One replica counts at a time. `counted_changes` says how far, and is written with the counts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from realmate.domain.changes import What, decode
from realmate.domain.model import MessageKind

CHANGES_AT_ONCE = 2_000
ROUND_S = 2.0
KEPT_HOURS = 48
_EVENTS = What.OPENED | What.CLOSED
_MESSAGES = f"""
    SELECT wanted.hour, wanted.source_id, count(*) FROM unnest(
        CAST(:hours AS timestamptz[]), CAST(:sources AS integer[]), CAST(:conversations AS uuid[]),
        CAST(:first AS integer[]), CAST(:last AS integer[])
    ) AS wanted (hour, source_id, conversation_id, first, last)
    JOIN messages ON messages.conversation_id = wanted.conversation_id AND messages.source_id = wanted.source_id
        AND seq BETWEEN wanted.first AND wanted.last AND kind = {MessageKind.INBOUND:d}
    GROUP BY 1, 2
"""
_COUNT = text(
    "INSERT INTO source_hours (source_id, hour, accepted, last_at) VALUES (:source, :hour, :accepted, :last_at)"
    " ON CONFLICT (source_id, hour) DO UPDATE SET accepted = source_hours.accepted + excluded.accepted,"
    " last_at = greatest(source_hours.last_at, excluded.last_at)"
)


def count_hours(open_session: Any) -> None:
    """Count what is new in the feed, for ROUND_S at most. The next round goes on."""
    until = time.monotonic() + ROUND_S
    while time.monotonic() < until:
        with open_session() as session:
            if not _count_some(session):
                return


def _count_some(session: Session) -> bool:
    """Count some changes. Return whether there may be more."""
    position = session.execute(text("SELECT position FROM counted_changes FOR UPDATE SKIP LOCKED")).scalar()
    if position is None:
        return False  # another replica counts
    rows = session.execute(
        text("SELECT position, at, touched FROM changes WHERE position > :after ORDER BY position LIMIT :limit"),
        {"after": position, "limit": CHANGES_AT_ONCE},
    ).all()
    if not rows:
        _forget(session)
        return False
    counts, last_at = _counted(session, rows)
    for (source, hour), accepted in sorted(counts.items()):
        values = {"source": source, "hour": hour, "accepted": accepted, "last_at": last_at[source]}
        session.execute(_COUNT, values)
    session.execute(text("UPDATE counted_changes SET position = :position"), {"position": rows[-1].position})
    return len(rows) == CHANGES_AT_ONCE


def _counted(session: Session, rows: Sequence[Any]) -> tuple[Counter[tuple[int, datetime]], dict[int, datetime]]:
    """Return how many events each source has in each hour, and when its last one came."""
    counts: Counter[tuple[int, datetime]] = Counter()
    last_at: dict[int, datetime] = {}
    touched: list[tuple[datetime, int, str, int, int]] = []
    for _, at, entries in rows:
        hour = at.replace(minute=0, second=0, microsecond=0)
        for each in decode(bytes(entries)):
            last_at[each.source_id] = max(at, last_at.get(each.source_id, at))
            counts[each.source_id, hour] += (each.what & _EVENTS).bit_count()
            if each.what & What.MESSAGES:
                place = (each.first_position, each.last_position)
                touched.append((hour, each.source_id, each.conversation_id, *place))
    if touched:
        columns = dict(
            zip(("hours", "sources", "conversations", "first", "last"), zip(*touched, strict=True), strict=True)
        )
        for hour, source, messages in session.execute(text(_MESSAGES), {name: list(v) for name, v in columns.items()}):
            counts[source, hour] += messages
    return counts, last_at


def _forget(session: Session) -> None:
    session.execute(
        text("DELETE FROM source_hours WHERE hour < now() - make_interval(hours => :kept)"), {"kept": KEPT_HOURS}
    )
