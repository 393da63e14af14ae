"""The SQL of the feed of changes. Its laws, and why each holds, are in docs/adr/0018."""

from __future__ import annotations

from realmate.domain.changes import What
from realmate.runtime.transaction import Statement

# The last write of every transaction: `n` is drawn here, when all locks are held.
INSERT_CHANGE = Statement(
    "insert_change", ("timestamptz", "bytea"), "INSERT INTO changes (at, touched) VALUES ($1, $2)"
)


def touched(conversation_id: str, source_id: str, position: str, what: What) -> str:
    """Return SQL for an entry of `changes.touched`, as `domain.changes.encode` writes it. `position` is that of its
    only message, or 0."""
    return (
        f"(uuid_send({conversation_id}) || int4send({source_id}) || int4send({position}) || int4send({position})"
        f" || '\\x{what:02x}'::bytea)"
    )


HAS_UNNUMBERED = Statement("has_unnumbered", (), "SELECT EXISTS (SELECT FROM changes WHERE position IS NULL)")

# Whoever does not get the lock leaves the work to its holder. The numbering must be a second statement: its snapshot is
# then younger than the lock, and shows every change that the last holder numbered.
LOCK_FEED = Statement("lock_feed", (), "SELECT position FROM feed FOR UPDATE SKIP LOCKED")

# A sequencer that is frozen within its transaction loses the lock after so long.
LIMIT_FREEZE = Statement(
    "limit_freeze", ("text",), "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"
)

NUMBER_CHANGES = Statement(
    "number_changes",
    ("bigint", "integer"),
    """
    WITH next AS MATERIALIZED (
        SELECT n, row_number() OVER (ORDER BY n) AS place
        FROM (SELECT n FROM changes WHERE position IS NULL ORDER BY n LIMIT $2) AS few
    ),
    numbered AS (
        UPDATE changes SET position = $1 + place FROM next
        WHERE changes.n = next.n AND changes.position IS NULL RETURNING 1
    )
    UPDATE feed SET position = feed.position + (SELECT count(*) FROM numbered)
    RETURNING (SELECT count(*) FROM numbered)
    """,
)

# A version that adds no changes says no revision in its sessions' name, or an older one. It sets no `active_at` either.
# The feed begins with an empty change, behind every cursor that was given out before: those are too old then.
WATCH_WRITERS = Statement(
    "watch_writers",
    ("text", "text"),
    """
    WITH seen AS MATERIALIZED (
        SELECT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND split_part(application_name, '/', 1) = $1
                AND split_part(application_name, '/', 2) < $2
        ) AS older_writes
    ),
    changed AS (
        UPDATE feed SET position = CASE WHEN older_writes THEN position ELSE position + 1 END,
            complete_from = CASE WHEN older_writes THEN NULL ELSE position + 1 END,
            undated_from = CASE WHEN older_writes OR EXISTS (SELECT FROM conversations) THEN 0 END
        FROM seen WHERE older_writes = (complete_from IS NOT NULL)
        RETURNING complete_from
    ),
    begun AS (
        INSERT INTO changes (position, at, touched)
        SELECT complete_from, clock_timestamp(), '' FROM changed WHERE complete_from IS NOT NULL
    )
    SELECT complete_from FROM changed
    """,
)

# From the oldest on. The last one stays, without its entries: a cursor at the end of a quiet feed stays good.
FORGET_CHANGES = Statement(
    "forget_changes",
    ("double precision", "integer"),
    """
    WITH oldest AS MATERIALIZED (
        SELECT position, at < now() - make_interval(secs => $1) AS is_old FROM changes
        WHERE position IS NOT NULL ORDER BY position LIMIT $2
    ),
    forgotten AS (
        DELETE FROM changes WHERE position IN (
            SELECT position FROM oldest
            WHERE position < least(
                (SELECT position FROM feed), (SELECT min(position) FROM oldest WHERE NOT is_old)
            )
        ) RETURNING 1
    ),
    emptied AS (
        UPDATE changes SET touched = '' FROM oldest
        WHERE changes.position = oldest.position AND is_old AND touched <> ''
            AND changes.position = (SELECT position FROM feed)
    )
    SELECT count(*) FROM forgotten
    """,
)

FEED_STATE = Statement(
    "feed_state",
    (),
    """
    SELECT complete_from IS NULL, coalesce((
        SELECT extract(epoch FROM clock_timestamp() - at) FROM changes WHERE position IS NULL ORDER BY n LIMIT 1
    ), 0) FROM feed
    """,
)
