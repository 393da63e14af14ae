"""The SQL that erases what somebody wrote, by hand and by retention, in portions (docs/personal-data.md)."""

from __future__ import annotations

from realmate.conversations.change_statements import touched
from realmate.conversations.spelling import names
from realmate.conversations.statements import is_settled
from realmate.domain.changes import What
from realmate.domain.model import Status
from realmate.runtime.transaction import Statement

# docs/personal-data.md lists every place where something about a person is kept, and so what must be erased here.

# Conversations with all that is about them, at most so many rows of each kind. A conversation goes with the last rows
# about it. Tells how many of each there were, and how to go on: null where all that was chosen is gone.
# What the deliveries service has locked at this moment is left to it: it finds nothing to send, and forgets it.
_ERASE = """
    WITH chosen AS MATERIALIZED (SELECT id, source_id FROM conversations WHERE source_id = $1 AND {which}),
    some_said AS MATERIALIZED (
        SELECT messages.id, messages.source_id FROM chosen JOIN messages
            ON messages.conversation_id = chosen.id AND messages.source_id = chosen.source_id
        LIMIT {rows}
    ),
    said AS (
        DELETE FROM messages USING some_said
        WHERE messages.id = some_said.id AND messages.source_id = some_said.source_id
        RETURNING messages.id, messages.source_id
    ),
    some_rejected AS MATERIALIZED (
        SELECT rejections.id FROM chosen JOIN rejections
            ON rejections.conversation_id = chosen.id AND rejections.source_id = chosen.source_id
        LIMIT {rows}
    ),
    rejected AS (
        DELETE FROM rejections USING some_rejected WHERE rejections.id = some_rejected.id
        RETURNING rejections.source_id, idempotency_key
    ),
    rejected_alone AS (
        DELETE FROM rejections USING said
        WHERE rejections.message_id = said.id AND rejections.source_id = said.source_id
            AND rejections.conversation_id IS NULL
        RETURNING rejections.source_id, idempotency_key
    ),
    some_remembered AS MATERIALIZED (
        SELECT idempotency_keys.source_id, key FROM chosen JOIN idempotency_keys
            ON idempotency_keys.conversation_id = chosen.id AND idempotency_keys.source_id = chosen.source_id
        LIMIT {rows}
    ),
    remembered AS (
        DELETE FROM idempotency_keys USING some_remembered
        WHERE idempotency_keys.key = some_remembered.key AND idempotency_keys.source_id = some_remembered.source_id
    ),
    remembered_alone AS (
        DELETE FROM idempotency_keys USING rejected_alone
        WHERE key = idempotency_key AND idempotency_keys.source_id = rejected_alone.source_id
    ),
    asked AS (
        DELETE FROM reply_calls USING chosen
        WHERE reply_calls.conversation_id = chosen.id AND reply_calls.source_id = chosen.source_id
    ),
    undelivered AS (
        DELETE FROM deliveries USING (
            SELECT endpoint_id, n, conversation_id, deliveries.source_id FROM chosen JOIN deliveries
                ON deliveries.conversation_id = chosen.id AND deliveries.source_id = chosen.source_id
            LIMIT {rows} FOR UPDATE OF deliveries SKIP LOCKED
        ) AS few
        WHERE deliveries.conversation_id = few.conversation_id AND deliveries.source_id = few.source_id
            AND deliveries.endpoint_id = few.endpoint_id AND deliveries.n = few.n
        RETURNING 1
    ),
    attempted AS (
        DELETE FROM delivery_attempts USING (
            SELECT delivery_attempts.id FROM chosen JOIN delivery_attempts
                ON delivery_attempts.conversation_id = chosen.id AND delivery_attempts.source_id = chosen.source_id
            LIMIT {rows} FOR UPDATE OF delivery_attempts SKIP LOCKED
        ) AS few
        WHERE delivery_attempts.id = few.id
        RETURNING 1
    ),
    lanes AS (
        DELETE FROM delivery_lanes USING (
            SELECT endpoint_id, conversation_id, delivery_lanes.source_id FROM chosen JOIN delivery_lanes
                ON delivery_lanes.conversation_id = chosen.id AND delivery_lanes.source_id = chosen.source_id
            FOR UPDATE OF delivery_lanes SKIP LOCKED
        ) AS few
        WHERE delivery_lanes.conversation_id = few.conversation_id AND delivery_lanes.source_id = few.source_id
            AND delivery_lanes.endpoint_id = few.endpoint_id
    ),
    rest AS MATERIALIZED (
        SELECT {rows} <= greatest(
            (SELECT count(*) FROM undelivered),
            (SELECT count(*) FROM attempted),
            (SELECT count(*) FROM some_said),
            (SELECT count(*) FROM some_rejected),
            (SELECT count(*) FROM some_remembered)
        ) AS is_left
    ),
    gone AS (
        DELETE FROM conversations USING chosen
        WHERE conversations.id = chosen.id AND conversations.source_id = chosen.source_id
            AND NOT (SELECT is_left FROM rest)
        RETURNING conversations.id, conversations.source_id, status
    ),
    told AS (
        INSERT INTO changes (at, touched)
        SELECT clock_timestamp(), string_agg({told}, ''::bytea ORDER BY id) FROM gone
        WHERE status > {pending:d} HAVING count(*) > 0
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM said),
        (SELECT count(*) FROM rejected) + (SELECT count(*) FROM rejected_alone),
        CASE WHEN is_left THEN {again} ELSE {after} END
    FROM rest
"""
_TOLD = {"told": touched("id", "source_id", "0", What.ERASED), "pending": Status.PENDING}
_AGAIN = {"again": "'again'", "after": "NULL"} | _TOLD


def _outdated(which: str) -> str:
    """Choose $3 conversations of that kind that have not changed for $2 seconds.

    It asks for both moments, because the version before sets `updated_at` alone.
    """
    outdated = "< now() - make_interval(secs => $2)"
    return (
        f"{which} AND settled_at {outdated} AND updated_at {outdated}"
        " ORDER BY settled_at LIMIT $3 FOR UPDATE SKIP LOCKED"
    )


ERASE_CLOSED = Statement(
    "erase_closed",
    ("integer", "double precision", "integer", "integer"),
    _ERASE.format(which=_outdated(f"status = {Status.CLOSED:d}"), rows="$4", **_AGAIN),
)

# Conversations that never opened, and with them what expired: it is what was rejected, and kept for as long.
ERASE_UNOPENED = Statement(
    "erase_unopened",
    ("integer", "double precision", "integer", "integer"),
    _ERASE.format(which=_outdated(f"status = {Status.PENDING:d} AND due_at IS NULL"), rows="$4", **_AGAIN),
)

# The version before does not write when it settles a conversation. Where it wrote no change either, the time counts
# from now. The rows are updated by their places (ctid): a join by their ids may read the whole table for each portion.
DATE_SETTLED = Statement(
    "date_settled",
    ("integer", "integer"),
    f"""
    WITH dated AS (
        UPDATE conversations SET settled_at = coalesce(updated_at, now()), updated_at = coalesce(updated_at, now())
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM conversations
            WHERE source_id = $1 AND settled_at IS NULL AND {is_settled()}
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )) RETURNING 1
    )
    SELECT count(*) FROM dated
    """,
)

_ONE = "id = $2 FOR UPDATE"
_NEXT = "id > $2 ORDER BY id LIMIT $3 FOR UPDATE"

ERASE_CONVERSATION = Statement(
    "erase_conversation", ("integer", "uuid", "integer"), _ERASE.format(which=_ONE, rows="$3", **_AGAIN)
)

# In the order of their ids: the cursor is the id after which to go on.
ERASE_CONVERSATIONS_AFTER = Statement(
    "erase_conversations_after",
    ("integer", "uuid", "integer", "integer"),
    _ERASE.format(
        which=_NEXT,
        rows="$4",
        again="CAST($2 AS text)",
        after="(SELECT CAST(id AS text) FROM chosen ORDER BY id DESC LIMIT 1)",
        **_TOLD,
    ),
)

# These run first, each as a statement of its own: the next one's snapshot is then younger than the locks, and shows
# what the writers that were waited for have committed. (Retention waits for nobody: SKIP LOCKED.)
_LOCKED = "SELECT 1 FROM conversations WHERE source_id = $1 AND "
LOCKS = {
    ERASE_CONVERSATION.name: Statement("lock_conversation", ("integer", "uuid"), _LOCKED + _ONE),
    ERASE_CONVERSATIONS_AFTER.name: Statement(
        "lock_conversations_after", ("integer", "uuid", "integer"), _LOCKED + _NEXT
    ),
}

_ERASE_REJECTIONS = """
    WITH rejected AS (DELETE FROM rejections WHERE source_id = $1 AND {which} RETURNING source_id, idempotency_key),
    remembered AS (
        DELETE FROM idempotency_keys USING rejected
        WHERE key = idempotency_key AND idempotency_keys.source_id = rejected.source_id
    )
    SELECT 0, 0, (SELECT count(*) FROM rejected), CASE WHEN (SELECT count(*) FROM rejected) >= {rows} THEN 'again' END
"""

ERASE_REJECTIONS_ABOUT = Statement(
    "erase_rejections_about",
    ("integer", "uuid", "integer"),
    _ERASE_REJECTIONS.format(
        which="id IN (SELECT id FROM rejections WHERE source_id = $1 AND conversation_id = $2 LIMIT $3)", rows="$3"
    ),
)

ERASE_REJECTIONS = Statement(
    "erase_rejections",
    ("integer", "integer"),
    _ERASE_REJECTIONS.format(
        which="id IN (SELECT id FROM rejections WHERE source_id = $1 ORDER BY id LIMIT $2)", rows="$2"
    ),
)

# Those of a source's rejections whose text has the digits of an id; looked at are so many after one, or so many bytes.
_BESIDE_THE_BODY = "convert_to(concat(detail, ' ', request_id, ' ', idempotency_key), 'UTF8')"

ERASE_REJECTIONS_NAMING = Statement(
    "erase_rejections_naming",
    ("integer", "text", "bigint", "integer", "bigint"),
    f"""
    WITH next AS MATERIALIZED (
        SELECT id, octet_length(body) AS bytes FROM rejections WHERE source_id = $1 AND id > $3 ORDER BY id LIMIT $4
    ),
    portion AS MATERIALIZED (
        SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM next) AS counted
        WHERE before < $5
    ),
    rejected AS (
        DELETE FROM rejections AS rejection USING portion
        WHERE rejection.id = portion.id AND (
            {names("body", "$2")} OR {names(_BESIDE_THE_BODY, "$2")}
        )
        RETURNING source_id, idempotency_key
    ),
    remembered AS (
        DELETE FROM idempotency_keys USING rejected
        WHERE key = idempotency_key AND idempotency_keys.source_id = rejected.source_id
    )
    SELECT 0, 0, (SELECT count(*) FROM rejected), (SELECT CAST(max(id) AS text) FROM portion)
    """,
)

# Of the keys that are linked to no conversation.
ERASE_KEYS_NAMING = Statement(
    "erase_keys_naming",
    ("integer", "text", "text", "integer"),
    f"""
    WITH portion AS MATERIALIZED (
        SELECT key FROM idempotency_keys WHERE source_id = $1 AND conversation_id IS NULL AND key > $3
        ORDER BY key LIMIT $4
    ),
    gone AS (
        DELETE FROM idempotency_keys USING portion
        WHERE source_id = $1 AND idempotency_keys.key = portion.key
            AND {names("convert_to(portion.key, 'UTF8')", "$2")}
    )
    SELECT 0, 0, 0, (SELECT max(key) FROM portion)
    """,
)

ERASE_KEYS_ABOUT = Statement(
    "erase_keys_about",
    ("integer", "uuid", "integer"),
    """
    WITH gone AS (
        DELETE FROM idempotency_keys WHERE source_id = $1 AND key IN (
            SELECT key FROM idempotency_keys WHERE source_id = $1 AND conversation_id = $2 LIMIT $3
        ) RETURNING 1
    )
    SELECT 0, 0, 0, CASE WHEN (SELECT count(*) FROM gone) >= $3 THEN 'again' END
    """,
)

ERASE_KEYS = Statement(
    "erase_keys",
    ("integer", "integer"),
    """
    WITH gone AS (
        DELETE FROM idempotency_keys WHERE source_id = $1 AND key IN (
            SELECT key FROM idempotency_keys WHERE source_id = $1 LIMIT $2
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)

BEGIN_ERASURE = Statement(
    "begin_erasure",
    ("integer", "text"),
    "INSERT INTO erasures (source_id, reason, started_at, finished_at, conversations, messages, rejections)"
    " VALUES ($1, $2, now(), now(), 0, 0, 0) RETURNING id",
)

GO_ON_WITH_ERASURE = Statement(
    "go_on_with_erasure",
    ("bigint", "bigint", "bigint", "bigint"),
    "UPDATE erasures SET finished_at = clock_timestamp(), conversations = conversations + $2,"
    " messages = messages + $3, rejections = rejections + $4 WHERE id = $1",
)
