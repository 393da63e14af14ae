"""The SQL of the only writer. A batch costs two statements, whatever its size: LOCK and SAVE.

Rows travel as one JSON array a table and become rows again in `json_populate_recordset`; keys are the columns' names.
(Measured against arrays and `unnest`: the same cost in Postgres, a quarter in Python.)

Locks are taken in the order of the ids, and a transaction locks what exists before it inserts anything new: so two
transactions do not wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text

CONVERSATION_COLUMNS = (
    "id",
    "status",
    "created_at",
    "updated_at",
    "opened_timestamp",
    "closed_timestamp",
    "last_seq",
    "group_first_seq",
    "group_last_at",
    "due_at",
)
MESSAGE_COLUMNS = ("id", "conversation_id", "seq", "kind", "content", "timestamp", "arrived_at")


def uuid_array(ids: Iterable[UUID]) -> str:
    """A Postgres array literal."""
    return "{" + ",".join([key.hex for key in ids]) + "}"


_CONVERSATION = ", ".join(CONVERSATION_COLUMNS)
_MESSAGE = ", ".join(MESSAGE_COLUMNS)
_ASSIGNMENTS = ", ".join(f"{name} = new.{name}" for name in CONVERSATION_COLUMNS if name != "id")

# The clock is read row by row above the locks, so the last row's moment is after the last lock was granted: for one
# conversation, moments never run backwards. A row of nulls carries the clock where no conversation exists yet.
_LOCKED = """
    WITH locked AS MATERIALIZED ({select})
    SELECT locked.*, clock_timestamp() AS now FROM (VALUES (1)) AS always LEFT JOIN locked ON true
"""

LOCK = text(
    _LOCKED.format(
        select=f"SELECT {_CONVERSATION} FROM conversations WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE"
    )
)

# now() is the transaction's start: unlike clock_timestamp() the index on due_at can be searched with it.
LOCK_DUE = text(
    _LOCKED.format(
        select=f"SELECT {_CONVERSATION} FROM conversations WHERE due_at < now() ORDER BY due_at LIMIT :limit"
        " FOR UPDATE SKIP LOCKED"
    )
)

# Further ahead than any timer can be set: only a clock that was set back since makes such.
LOCK_STRANDED = text(
    _LOCKED.format(
        select=f"SELECT {_CONVERSATION} FROM conversations WHERE due_at > now() + make_interval(secs => :horizon_s)"
        " ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED"
    )
)

KNOWN_MESSAGES = text(f"SELECT {_MESSAGE} FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))")

HELD_MESSAGES = text(
    "SELECT id, conversation_id, seq, arrived_at FROM messages"
    " WHERE conversation_id = ANY(CAST(:ids AS uuid[])) AND kind = 3 ORDER BY seq"
)

SET_KIND = text("UPDATE messages SET kind = :kind WHERE id = ANY(CAST(:ids AS uuid[]))")

GROUP_MEMBERS = text("""
    SELECT reply.conversation_id, reply.seq,
        array_agg(CAST(message.id AS text) ORDER BY message.timestamp, message.seq) AS message_ids
    FROM json_to_recordset(:replies) AS reply (conversation_id uuid, seq integer, first_seq integer, last_seq integer)
    JOIN messages AS message ON message.conversation_id = reply.conversation_id
        AND message.seq BETWEEN reply.first_seq AND reply.last_seq AND message.kind = 1
    GROUP BY reply.conversation_id, reply.seq
""")

SAVED = ("new", "changed", "messages", "batches")
"""SAVE's parameters: JSON arrays of rows."""

# Who comes second with a new row gets no error but a smaller count, and looks again.
SAVE = text(f"""
    WITH opened AS (
        INSERT INTO conversations ({_CONVERSATION})
        SELECT {_CONVERSATION} FROM json_populate_recordset(NULL::conversations, :new) ORDER BY id
        ON CONFLICT DO NOTHING RETURNING 1
    ), changed AS (
        UPDATE conversations AS old SET {_ASSIGNMENTS}
        FROM json_populate_recordset(NULL::conversations, :changed) AS new WHERE old.id = new.id RETURNING 1
    ), stored AS (
        INSERT INTO messages ({_MESSAGE})
        SELECT {_MESSAGE} FROM json_populate_recordset(NULL::messages, :messages) ORDER BY id
        ON CONFLICT DO NOTHING RETURNING 1
    ), applied AS (
        INSERT INTO applied_batches (id, verdicts)
        SELECT id, verdicts FROM json_populate_recordset(NULL::applied_batches, :batches) ORDER BY id
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM opened) + (SELECT count(*) FROM changed)
        + (SELECT count(*) FROM stored) + (SELECT count(*) FROM applied)
""")

APPLIED = text("SELECT id, verdicts FROM applied_batches WHERE id = ANY(CAST(:ids AS text[]))")

FORGET_APPLIED = text("DELETE FROM applied_batches WHERE applied_at < now() - make_interval(secs => :age_s)")

BACKLOG = text("""
    SELECT count(*) FILTER (WHERE status = 1) AS groups,
        coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0) AS overdue_s
    FROM conversations WHERE due_at IS NOT NULL
""")

COUNT_HELD = text("SELECT count(*) FROM messages WHERE kind = 3")
