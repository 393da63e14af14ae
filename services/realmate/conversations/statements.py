"""The SQL of the only writer: one statement a table, whatever the size of the batch.

Rows travel as arrays, one a column, and become rows again in `unnest`. Every statement takes its locks in the order of
the ids, and a transaction locks what exists before it inserts anything new: so two transactions never wait for each
other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import TextClause, text


def array(values: Iterable[object]) -> str:
    """A Postgres array literal of numbers, UUIDs, moments or nulls: none of them needs quoting.

    One string instead of a list, because psycopg2 adapts a list element by element.
    """
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


CONVERSATION_COLUMNS = {
    "id": "uuid",
    "status": "smallint",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "opened_timestamp": "timestamptz",
    "closed_timestamp": "timestamptz",
    "last_seq": "integer",
    "group_first_seq": "integer",
    "group_last_at": "timestamptz",
    "due_at": "timestamptz",
}
MESSAGE_COLUMNS = {
    "id": "uuid",
    "conversation_id": "uuid",
    "seq": "integer",
    "kind": "smallint",
    "timestamp": "timestamptz",
    "arrived_at": "timestamptz",
    "content": "text",
}


def _rows(columns: dict[str, str]) -> str:
    """`unnest(...)` of one array parameter a column, named like the columns."""
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


def _insert(table: str, columns: dict[str, str]) -> TextClause:
    names = ", ".join(columns)
    # Who comes second gets no error but a smaller row count, and looks again.
    return text(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM {_rows(columns)} ORDER BY id ON CONFLICT DO NOTHING"
    )


_NAMES = ", ".join(CONVERSATION_COLUMNS)

# The clock is read row by row above the locks, so the last row's moment is after the last lock was granted: for one
# conversation, moments never run backwards. A row of nulls carries the clock where no conversation exists yet.
_LOCKED = """
    WITH locked AS MATERIALIZED ({select})
    SELECT locked.*, clock_timestamp() AS now FROM (VALUES (1)) AS always LEFT JOIN locked ON true
"""

LOCK_CONVERSATIONS = text(
    _LOCKED.format(
        select=f"SELECT {_NAMES} FROM conversations WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE"
    )
)

# now() is the transaction's start: unlike clock_timestamp() the index on due_at can be searched with it.
LOCK_DUE = text(
    _LOCKED.format(
        select=f"SELECT {_NAMES} FROM conversations WHERE due_at < now() ORDER BY due_at LIMIT :limit"
        " FOR UPDATE SKIP LOCKED"
    )
)

KNOWN_MESSAGES = text(
    "SELECT id, conversation_id, kind, content, arrived_at FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"
)

HELD_MESSAGES = text(
    "SELECT id, conversation_id, seq, arrived_at FROM messages"
    " WHERE conversation_id = ANY(CAST(:ids AS uuid[])) AND kind = 3 ORDER BY seq"
)

INSERT_CONVERSATIONS = _insert("conversations", CONVERSATION_COLUMNS)

_ASSIGNMENTS = ", ".join(f"{name} = new.{name}" for name in CONVERSATION_COLUMNS if name != "id")

UPDATE_CONVERSATIONS = text(
    f"UPDATE conversations AS old SET {_ASSIGNMENTS} FROM {_rows(CONVERSATION_COLUMNS)} WHERE old.id = new.id"
)

INSERT_MESSAGES = _insert("messages", MESSAGE_COLUMNS)

SET_KIND = text("UPDATE messages SET kind = :kind WHERE id = ANY(CAST(:ids AS uuid[]))")

GROUP_MEMBERS = text(
    "SELECT reply.position, message.id"
    " FROM unnest(CAST(:conversation_id AS uuid[]), CAST(:first_seq AS integer[]), CAST(:last_seq AS integer[]))"
    " WITH ORDINALITY AS reply (conversation_id, first_seq, last_seq, position)"
    " JOIN messages AS message ON message.conversation_id = reply.conversation_id"
    " AND message.seq BETWEEN reply.first_seq AND reply.last_seq AND message.kind = 1"
    " ORDER BY reply.position, message.timestamp, message.seq"
)

INSERT_APPLIED = text(
    "INSERT INTO applied_batches (id, verdicts)"
    " SELECT id, verdicts FROM unnest(CAST(:id AS text[]), CAST(:verdicts AS bytea[])) AS new (id, verdicts)"
    " ORDER BY id ON CONFLICT DO NOTHING"
)

APPLIED = text("SELECT id, verdicts FROM applied_batches WHERE id = ANY(CAST(:ids AS text[]))")

FORGET_APPLIED = text("DELETE FROM applied_batches WHERE applied_at < now() - make_interval(secs => :age_s)")

BACKLOG = text(
    "SELECT count(*) FILTER (WHERE status = 1) AS groups, count(*) FILTER (WHERE status = 0) AS waiting,"
    " coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0) AS overdue_s"
    " FROM conversations WHERE due_at IS NOT NULL"
)

COUNT_HELD = text("SELECT count(*) FROM messages WHERE kind = 3")
