"""The SQL of the only writer. A batch costs LOCK in one round trip, and what it writes with the COMMIT in a second.

Rows travel as one JSON array a table and become rows again in `json_populate_recordset`; keys are the columns' names.
(Measured against arrays and `unnest`: the same cost in Postgres, a quarter in Python.)

Locks are taken in the order of the ids, and a transaction locks what exists before it inserts anything new, in the
order of the ids too: so two transactions do not wait for each other in a circle.
"""

from __future__ import annotations

from realmate.conversations.rows import LOCKED_COLUMNS, ConversationRow, MessageRow, columns
from realmate.domain.model import ACTIVE_LAG_S, REPLY_ORDER, MessageKind, Status
from realmate.runtime.transaction import Statement

_CONVERSATION = columns(ConversationRow)
_MESSAGE = columns(MessageRow)
MESSAGE_COLUMNS = f"{_MESSAGE}, arrived_at"

# --- lock and load ---

# The clock is read row by row above the locks, so the last row's moment is after the last lock was granted: for one
# conversation, moments never run backwards. A row of nulls carries the clock where no conversation exists yet.
_LOCKED = """
    WITH locked AS MATERIALIZED (
        SELECT {columns}{also} FROM {which}
    )
    SELECT {loaded}, clock_timestamp(){also}
    FROM (VALUES (1)) AS always LEFT JOIN locked ON true
"""

_LOADED = ", ".join(LOCKED_COLUMNS)


def _locked(which: str, also: str = "") -> str:
    """Return SQL that locks some conversations. `also` is one more column, which comes after the clock."""
    loaded = ", ".join("CAST(id AS text)" if column == "id" else column for column in LOCKED_COLUMNS)
    return _LOCKED.format(columns=_LOADED, loaded=loaded, which=which, also=also and f", {also}")


def is_settled(row: str = "") -> str:
    """Return SQL that tells whether nothing about the row's conversation waits: it is closed, or it never opened and
    holds nothing."""
    return f"({row}status = {Status.CLOSED:d} OR {row}status = {Status.PENDING:d} AND {row}due_at IS NULL)"


# By id alone, whatever the source: two sources with one id are too rare to pay for a search for both.
LOCK = Statement("lock", ("uuid[]",), _locked("conversations WHERE id = ANY($1) ORDER BY id, source_id FOR UPDATE"))

# The sources for which anything waits, each found by one step in the index. A last row is null.
_WAITING = """
    WITH RECURSIVE waiting (source_id) AS (
        (SELECT source_id FROM conversations WHERE due_at IS NOT NULL ORDER BY source_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT source_id FROM conversations
            WHERE due_at IS NOT NULL AND source_id > waiting.source_id ORDER BY source_id LIMIT 1
        ) FROM waiting WHERE source_id IS NOT NULL
    )
"""

# now() is the transaction's start: unlike clock_timestamp() the index on due_at can be searched with it.
_IS_DUE = "EXISTS (SELECT FROM conversations WHERE conversations.source_id = waiting.source_id AND due_at < now())"

DUE_SOURCES = Statement(
    "due_sources",
    (),
    f"{_WAITING} SELECT source_id, name FROM waiting JOIN sources ON sources.id = source_id WHERE {_IS_DUE}",
)


def _due_of(sweeping: str, most: str) -> str:
    """Return SQL that locks at most so many due conversations of each source in `sweeping`."""
    return f"""
        {sweeping} CROSS JOIN LATERAL (
            SELECT {_LOADED} FROM conversations WHERE source_id = sweeping.source AND due_at < now()
            ORDER BY due_at LIMIT {most} FOR UPDATE SKIP LOCKED
        ) AS due
    """


# All that is due, but for some sources. The others share the number equally, and each row tells how many they are.
LOCK_ALL_DUE = Statement(
    "lock_all_due",
    ("integer[]", "integer"),
    _locked(
        _due_of(
            f"""
            (
                {_WAITING}
                SELECT source_id AS source, count(*) OVER () AS sources FROM waiting
                WHERE source_id <> ALL ($1) AND {_IS_DUE}
            ) AS sweeping
            """,
            most="greatest(1, $2 / sources)",
        ),
        also="sources",
    ),
)

# The same for some sources: so many of each.
LOCK_DUE = Statement(
    "lock_due", ("integer[]", "integer"), _locked(_due_of("unnest($1) AS sweeping (source)", most="$2"))
)

# Further ahead than any timer can be set: only a clock that was set back since makes such. What was set aside is later
# than any timer on purpose, for so many seconds at most.
LOCK_STRANDED = Statement(
    "lock_stranded",
    ("integer", "double precision", "double precision"),
    _locked(
        f"""
        ({_WAITING} SELECT source_id AS source FROM waiting) AS waits CROSS JOIN LATERAL (
            SELECT {_LOADED} FROM conversations
            WHERE source_id = waits.source AND due_at > now() + make_interval(secs => $2)
                AND (failed_sweeps IS NULL OR due_at > now() + make_interval(secs => $2 + $3))
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ) AS stranded
        """
    ),
)

# A conversation on which the sweep failed although it took nothing else: tried again later, and later each time.
SET_ASIDE = Statement(
    "set_aside",
    ("uuid", "integer", "double precision", "double precision"),
    """
    UPDATE conversations
    SET failed_sweeps = least(coalesce(failed_sweeps, 0) + 1, 30),
        due_at = clock_timestamp() + make_interval(secs => least($3 * 2 ^ coalesce(failed_sweeps, 0), $4)),
        active_at = greatest(active_at, updated_at)
    WHERE id = $1 AND source_id = $2 AND due_at IS NOT NULL
    RETURNING failed_sweeps, CAST(extract(epoch FROM due_at - clock_timestamp()) AS double precision)
    """,
)

# For the rest of the transaction.
LIMIT_TIME = Statement("limit_time", ("text",), "SELECT set_config('statement_timeout', $1, true)")

# A content travels only where it has the size of the event's own, so never more than the batch itself has.
KNOWN_MESSAGES = Statement(
    "known_messages",
    ("uuid[]", "integer[]"),
    """
    SELECT CAST(id AS text), source_id, CAST(conversation_id AS text), seq, kind,
        CASE WHEN octet_length(content) = wanted.bytes THEN content ELSE '' END, timestamp, arrived_at
    FROM messages JOIN unnest($1, $2) AS wanted (id, bytes) USING (id)
    """,
)

HELD_MESSAGES = Statement(
    "held_messages",
    ("uuid[]",),
    "SELECT CAST(id AS text), source_id, CAST(conversation_id AS text), seq, arrived_at FROM messages"
    f" WHERE conversation_id = ANY($1) AND kind = {MessageKind.HELD:d} ORDER BY seq",
)

# The oldest ones of each, with the sizes of their contents, which are not read for it.
OLDEST_HELD = Statement(
    "oldest_held",
    ("uuid[]", "integer[]", "integer[]"),
    f"""
    SELECT CAST(held.id AS text), due.source_id, CAST(due.conversation_id AS text), seq, arrived_at, bytes
    FROM unnest($1, $2, $3) AS due (conversation_id, source_id, most) CROSS JOIN LATERAL (
        SELECT id, seq, arrived_at, octet_length(content) AS bytes FROM messages
        WHERE conversation_id = due.conversation_id AND source_id = due.source_id AND kind = {MessageKind.HELD:d}
        ORDER BY seq LIMIT due.most
    ) AS held ORDER BY seq
    """,
)

APPLIED = Statement("applied", ("text[]",), "SELECT id, verdicts FROM applied_batches WHERE id = ANY($1)")

# --- write: whoever comes second with a new row violates its key, and looks again ---

_IS_SETTLED = is_settled("new.")

INSERT_CONVERSATIONS = Statement(
    "insert_conversations",
    ("json",),
    f"INSERT INTO conversations ({_CONVERSATION}, active_at, settled_at)"
    f" SELECT {_CONVERSATION}, updated_at, CASE WHEN {_IS_SETTLED} THEN updated_at END"
    " FROM json_populate_recordset(NULL::conversations, $1) AS new",
)

# What never changes any more was not loaded, and is not written again.
UPDATE_CONVERSATIONS = Statement(
    "update_conversations",
    ("json",),
    f"""
    UPDATE conversations AS old
    SET status = new.status, due_at = new.due_at, last_seq = new.last_seq,
        updated_at = greatest(old.updated_at, new.updated_at),
        active_at = greatest(old.updated_at, new.updated_at),
        settled_at = CASE WHEN {_IS_SETTLED} THEN greatest(old.updated_at, new.updated_at) END,
        group_first_seq = new.group_first_seq, group_size = new.group_size,
        group_first_at = new.group_first_at, group_last_at = new.group_last_at,
        held_messages = new.held_messages, held_bytes = new.held_bytes, failed_sweeps = NULL,
        created_at = coalesce(old.created_at, new.created_at),
        opened_timestamp = coalesce(old.opened_timestamp, new.opened_timestamp),
        closed_timestamp = coalesce(old.closed_timestamp, new.closed_timestamp)
    FROM json_populate_recordset(NULL::conversations, $1) AS new
    WHERE old.id = new.id AND old.source_id = new.source_id
    """,
)

# The usual event is one more message in the group that waits. It changes no column of an index, so Postgres leaves the
# row's entries in them alone (HOT): keep it so. `active_at`, which an index has, follows once in ACTIVE_LAG_S.
GROW_GROUPS = Statement(
    "grow_groups",
    ("json", "timestamptz"),
    f"""
    UPDATE conversations AS old
    SET last_seq = grown.last_seq, group_size = grown.group_size, group_last_at = $2,
        updated_at = greatest(updated_at, $2), failed_sweeps = NULL,
        active_at = CASE WHEN active_at >= $2 - interval '{ACTIVE_LAG_S} s' THEN active_at ELSE $2 END
    FROM json_to_recordset($1) AS grown (id uuid, source_id integer, last_seq integer, group_size integer)
    WHERE old.id = grown.id AND old.source_id = grown.source_id
    """,
)

# All that a transaction stores arrived at the moment that it read.
INSERT_MESSAGES = Statement(
    "insert_messages",
    ("json", "timestamptz"),
    f"INSERT INTO messages ({MESSAGE_COLUMNS}) SELECT {_MESSAGE}, $2 FROM json_populate_recordset(NULL::messages, $1)",
)

SET_KIND = Statement(
    "set_kind",
    ("uuid[]", "integer[]", "smallint"),
    "UPDATE messages AS old SET kind = $3 FROM unnest($1, $2) AS held (id, source_id)"
    " WHERE old.id = held.id AND old.source_id = held.source_id",
)


def reply_text(reply: str, heading: str) -> str:
    """Return SQL that joins `rendered (text)`: what answers the messages between the reply's first and last seq.

    `reply` is a table with conversation_id, source_id, first_seq and last_seq. The messages never leave Postgres.
    """
    order = ", ".join(f'"{field}"' for field in REPLY_ORDER)
    return f"""
        CROSS JOIN LATERAL (
            SELECT {heading} || string_agg(E'\\n' || CAST(id AS text), '' ORDER BY {order}) AS text FROM messages
            WHERE conversation_id = {reply}.conversation_id AND source_id = {reply}.source_id
                AND seq BETWEEN {reply}.first_seq AND {reply}.last_seq AND kind = {MessageKind.INBOUND:d}
        ) AS rendered
    """


# The OUTBOUND messages.
INSERT_REPLIES = Statement(
    "insert_replies",
    ("json", "text"),
    f"""
    INSERT INTO messages ({MESSAGE_COLUMNS})
    SELECT gen_random_uuid(), reply.source_id, reply.conversation_id, reply.seq, {MessageKind.OUTBOUND:d},
        rendered.text, made_at, made_at
    FROM json_to_recordset($1)
        AS reply (
            conversation_id uuid, source_id integer, seq integer, first_seq integer, last_seq integer,
            made_at timestamptz
        )
    {reply_text("reply", "$2")}
    """,
)

# --- batches already applied ---

INSERT_APPLIED = Statement(
    "insert_applied",
    ("text[]", "bytea[]"),
    "INSERT INTO applied_batches (id, verdicts) SELECT id, verdicts FROM unnest($1, $2) AS applied (id, verdicts)",
)

# --- rejections ---

_REJECTION = "source_id, code, detail, request_id, conversation_id, message_id, body, idempotency_key"

INSERT_REJECTIONS = Statement(
    "insert_rejections",
    ("json",),
    f"INSERT INTO rejections ({_REJECTION}) SELECT {_REJECTION} FROM json_populate_recordset(NULL::rejections, $1)",
)

# From the messages themselves: who expires them knows their ids alone.
INSERT_EXPIRED = Statement(
    "insert_expired",
    ("uuid[]", "integer[]"),
    """
    INSERT INTO rejections (source_id, code, detail, conversation_id, message_id, body)
    SELECT source_id, 'expired', 'Its conversation did not come in time.', conversation_id, id,
        convert_to(CAST(json_build_object(
            'type', 'NEW_MESSAGE',
            'timestamp', to_char("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', json_build_object('id', id, 'content', content, 'conversation_id', conversation_id)
        ) AS text), 'UTF8')
    FROM messages JOIN unnest($1, $2) AS expired (id, source_id) USING (id, source_id)
    """,
)

FORGET_REJECTIONS = Statement(
    "forget_rejections",
    ("integer", "double precision", "integer", "integer"),
    """
    WITH newest AS (SELECT id FROM rejections WHERE source_id = $1 ORDER BY id DESC OFFSET $3 LIMIT 1),
    forgotten AS (
        DELETE FROM rejections WHERE id IN (
            SELECT id FROM rejections
            WHERE source_id = $1
                AND (id <= (SELECT id FROM newest) OR at < clock_timestamp() - make_interval(secs => $2))
            ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT count(*) FROM forgotten
    """,
)

# --- idempotency keys ---

KNOWN_KEYS = Statement(
    "known_keys",
    ("integer[]", "text[]"),
    "SELECT source_id, key, digest, verdict FROM idempotency_keys"
    " JOIN unnest($1, $2) AS wanted (source_id, key) USING (source_id, key)",
)

INSERT_KEYS = Statement(
    "insert_keys",
    ("json",),
    "INSERT INTO idempotency_keys (source_id, key, verdict, digest, conversation_id)"
    " SELECT source_id, key, verdict, digest, conversation_id"
    " FROM json_populate_recordset(NULL::idempotency_keys, $1)",
)

FORGET_KEYS = Statement(
    "forget_keys",
    ("double precision", "integer"),
    "WITH forgotten AS (DELETE FROM idempotency_keys WHERE (source_id, key) IN ("
    "SELECT source_id, key FROM idempotency_keys WHERE first_at < now() - make_interval(secs => $1)"
    " ORDER BY first_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) FROM forgotten",
)

# --- sources ---

ALL_SOURCES = Statement("all_sources", (), "SELECT id, name FROM sources ORDER BY id")

SOURCE_IDS = Statement("source_ids", ("text[]",), "SELECT name, id FROM sources WHERE name = ANY($1)")

INSERT_SOURCES = Statement(
    "insert_sources", ("text[]",), "INSERT INTO sources (name) SELECT unnest($1) ON CONFLICT DO NOTHING"
)

# --- upkeep ---

FORGET_APPLIED = Statement(
    "forget_applied",
    ("double precision", "integer"),
    """
    WITH forgotten AS (
        DELETE FROM applied_batches WHERE id IN (
            SELECT id FROM applied_batches WHERE applied_at < now() - make_interval(secs => $1)
            ORDER BY applied_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT count(*) FROM forgotten
    """,
)

# The first block that is not dated yet, and how many there are. No row, as long as an older version is connected.
UNDATED = Statement(
    "undated",
    (),
    """
    SELECT undated_from, pg_relation_size('conversations') / current_setting('block_size')::integer FROM feed
    WHERE undated_from IS NOT NULL AND complete_from IS NOT NULL
    """,
)

# Rows that move to another block meanwhile are written by a version that dates them. Locks are taken in the order of
# the ids, as everywhere.
DATE_ACTIVE = Statement(
    "date_active",
    ("bigint", "bigint"),
    f"""
    WITH undated AS MATERIALIZED (
        SELECT id, source_id FROM conversations
        WHERE ctid >= CAST(format('(%s,0)', $1) AS tid) AND ctid < CAST(format('(%s,0)', $2) AS tid) AND status > 0
            AND (active_at IS NULL OR active_at < updated_at - interval '{ACTIVE_LAG_S} s')
        ORDER BY id, source_id FOR UPDATE
    ),
    dated AS (
        UPDATE conversations AS old SET active_at = updated_at FROM undated
        WHERE old.id = undated.id AND old.source_id = undated.source_id RETURNING 1
    )
    SELECT count(*) FROM dated
    """,
)

# Not where an older version came back meanwhile, or somebody else was quicker.
DATED = Statement(
    "dated",
    ("bigint", "bigint"),
    "UPDATE feed SET undated_from = $2 WHERE undated_from = $1 AND complete_from IS NOT NULL RETURNING 1",
)

# By an index of the conversations that hold something: so many rows as the bounds of holding allow.
HELD_OF_SOURCES = Statement(
    "held_of_sources",
    (),
    f"""
    SELECT source_id, CAST(coalesce(sum(held_messages), 0) AS bigint), CAST(coalesce(sum(held_bytes), 0) AS bigint)
    FROM conversations WHERE status = {Status.PENDING:d} AND due_at IS NOT NULL GROUP BY source_id
    """,
)

# How many groups wait, up to a limit, and how late the sweep is for what is due longest.
BACKLOG = Statement(
    "backlog",
    ("integer",),
    f"""
    {_WAITING}
    SELECT (SELECT count(*) FROM (
            SELECT FROM conversations WHERE due_at IS NOT NULL AND status = {Status.OPEN:d} LIMIT $1
        ) AS met),
        coalesce(extract(epoch FROM clock_timestamp() - (
            SELECT min(due_at) FROM waiting CROSS JOIN LATERAL (
                SELECT due_at FROM conversations
                WHERE conversations.source_id = waiting.source_id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
            ) AS first
        )), 0)
    """,
)
