"""The SQL that makes deliveries from the tables, where the feed does not reach back any more."""

from __future__ import annotations

from realmate.domain.model import MessageKind, Status
from realmate.feed.reading import CLOSED, OPENED
from realmate.runtime.transaction import Statement

# Paused for this, whatever it was paused for before. Who follows the feed has finished when the cursor is locked.
BEGIN = Statement(
    "begin_recovery",
    ("integer",),
    """
    UPDATE endpoints SET paused_at = coalesce(paused_at, clock_timestamp()), pause_reason = 'recovering'
    WHERE id = $1 AND ended_at IS NULL RETURNING id
    """,
)
LOCK_CURSOR = Statement(
    "lock_cursor_to_recover", ("integer",), "SELECT cursor FROM endpoint_cursors WHERE endpoint_id = $1 FOR UPDATE"
)
SOURCES = Statement("sources_to_recover", (), "SELECT id, name FROM sources ORDER BY id")

_AFTER = ("integer", "timestamptz", "uuid", "integer")


def _conversations(which: str, moment: str) -> str:
    """Return SQL for the next conversations behind a moment and an id. One that changes meanwhile comes again."""
    return f"""
        SELECT CAST(id AS text), {moment} FROM conversations
        WHERE source_id = $1 AND {which} AND {moment} >= $2 AND ({moment}, id) > ($2, $3)
        ORDER BY {moment}, id LIMIT $4
    """


CONVERSATIONS = (
    Statement("open_to_recover", _AFTER, _conversations(f"status = {Status.OPEN:d}", "active_at")),
    Statement("closed_to_recover", _AFTER, _conversations(f"status = {Status.CLOSED:d}", "active_at")),
    Statement("unopened_to_recover", _AFTER, _conversations(f"status = {Status.PENDING:d}", "settled_at")),
)

# What happened in some conversations between two moments. The kind of what is no message is null.
EVENTS = Statement(
    "events_to_recover",
    ("uuid[]", "integer", "timestamptz", "timestamptz"),
    f"""
    SELECT CAST(conversation.id AS text), place, kind, at FROM unnest($1) AS asked (id)
    JOIN conversations AS conversation ON conversation.id = asked.id AND conversation.source_id = $2
    CROSS JOIN LATERAL (
        SELECT {OPENED} AS place, CAST(NULL AS smallint) AS kind, created_at AS at WHERE status > {Status.PENDING:d}
        UNION ALL
        SELECT seq, kind, greatest(arrived_at, created_at) FROM messages
        WHERE conversation_id = asked.id AND source_id = $2 AND kind <> {MessageKind.HELD:d}
        UNION ALL
        SELECT {CLOSED}, NULL, updated_at WHERE status = {Status.CLOSED:d}
    ) AS happened
    WHERE at BETWEEN $3 AND $4
    ORDER BY conversation.id, place
    """,
)

ADD_MISSING = Statement(
    "add_missing_deliveries",
    ("integer", "integer", "uuid[]", "integer[]", "text[]", "timestamptz[]"),
    """
    INSERT INTO deliveries (conversation_id, source_id, endpoint_id, place, type, at)
    SELECT conversation_id, $2, $1, place, type, at
    FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS told (conversation_id, place, type, at, number)
    WHERE NOT EXISTS (
        SELECT FROM deliveries AS pending
        WHERE pending.conversation_id = told.conversation_id AND pending.source_id = $2 AND pending.endpoint_id = $1
            AND pending.place = told.place
    )
    ORDER BY number
    """,
)
