"""The SQL of the calls of responders: a group that waits for its reply from outside has a row until that is there."""

from __future__ import annotations

from realmate.conversations.change_statements import touched
from realmate.conversations.statements import MESSAGE_COLUMNS, reply_text
from realmate.domain.changes import What
from realmate.domain.model import MessageKind, Status
from realmate.runtime.transaction import Statement

INSERT_REPLY_REQUESTS = Statement(
    "insert_calls",
    ("json",),
    "INSERT INTO reply_calls (conversation_id, source_id, seq, first_seq, last_seq, made_at)"
    " SELECT conversation_id, source_id, seq, first_seq, last_seq, made_at"
    " FROM json_populate_recordset(NULL::reply_calls, $1)",
)

SOURCES_WITH_REPLY_REQUESTS = Statement("called_sources", (), "SELECT DISTINCT source_id FROM reply_calls")

# Whoever claims it has so many seconds; if he is dead then, somebody else claims it.
LEASE_REPLY_REQUESTS = Statement(
    "lease_reply_requests",
    ("integer", "integer", "double precision", "double precision"),
    """
    UPDATE reply_calls AS call
    SET attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => $3)
    FROM (
        SELECT conversation_id, source_id, seq FROM reply_calls
        WHERE source_id = $1 AND due_at <= now() AND made_at <= now() - make_interval(secs => $4)
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE call.conversation_id = due.conversation_id AND call.source_id = due.source_id AND call.seq = due.seq
    RETURNING CAST(call.conversation_id AS text), call.source_id, call.seq, first_seq, last_seq, made_at, attempts,
        CAST(extract(epoch FROM clock_timestamp() - made_at) AS double precision)
    """,
)

# The newest messages of a group that take up $5 bytes, at least one, and how many there are in all.
GROUP = Statement(
    "reply_group",
    ("uuid", "integer", "integer", "integer", "bigint"),
    f"""
    SELECT CAST(id AS text), content, "timestamp", size
    FROM (
        SELECT id, content, "timestamp", seq, count(*) OVER () AS size, row_number() OVER newest AS place,
            sum(octet_length(content) + 200) OVER newest AS total
        FROM messages
        WHERE conversation_id = $1 AND source_id = $2 AND seq BETWEEN $3 AND $4 AND kind = {MessageKind.INBOUND:d}
        WINDOW newest AS (ORDER BY "timestamp" DESC, seq DESC)
    ) AS message
    WHERE place = 1 OR total <= $5
    ORDER BY "timestamp", seq
    """,
)

# The row's deletion is what makes it one reply. The conversation is locked first: it may be erased just now. The reply
# gets the next place, not the one that its group's end reserved: for readers, positions are append-only.
FINISH_REPLY_REQUEST = Statement(
    "finish_call",
    ("uuid", "integer", "integer", "text", "text"),
    f"""
    WITH conversation AS MATERIALIZED (
        SELECT id FROM conversations WHERE id = $1 AND source_id = $2 FOR UPDATE
    ),
    done AS (
        DELETE FROM reply_calls WHERE conversation_id = (SELECT id FROM conversation) AND source_id = $2 AND seq = $3
        RETURNING conversation_id, source_id, seq, first_seq, last_seq, clock_timestamp() AS now
    ),
    changed AS (
        UPDATE conversations
        SET last_seq = conversations.last_seq + 1, updated_at = greatest(updated_at, now),
            active_at = greatest(updated_at, now),
            settled_at = CASE WHEN status = {Status.CLOSED:d} THEN greatest(updated_at, now) END
        FROM done
        WHERE id = conversation_id AND conversations.source_id = done.source_id
        RETURNING conversations.last_seq AS seq
    ),
    made AS (
        INSERT INTO messages ({MESSAGE_COLUMNS})
        SELECT gen_random_uuid(), source_id, conversation_id, changed.seq, {MessageKind.OUTBOUND:d},
            coalesce($4, rendered.text), now, now
        FROM changed CROSS JOIN done {reply_text("done", "$5")}
        RETURNING conversation_id, source_id, seq, arrived_at
    ),
    told AS (
        INSERT INTO changes (at, touched)
        SELECT arrived_at, {touched("conversation_id", "source_id", "seq", What.MESSAGES)} FROM made
    )
    SELECT count(*) FROM made
    """,
)

POSTPONE_REPLY_REQUEST = Statement(
    "postpone_call",
    ("uuid", "integer", "integer", "double precision"),
    "UPDATE reply_calls SET due_at = clock_timestamp() + make_interval(secs => $4)"
    " WHERE conversation_id = $1 AND source_id = $2 AND seq = $3 RETURNING 1",
)
