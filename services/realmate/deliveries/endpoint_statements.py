"""The SQL of the endpoints themselves: which there are, whether they are paused, and how far each follows the feed."""

from __future__ import annotations

from realmate.runtime.transaction import Statement

NAMED_S = 120
"""An endpoint ends when no process has had it in its file for so long: replicas read a new file at different times."""
_IS_UNNAMED = f"named_at < clock_timestamp() - interval '{NAMED_S} s'"

# Whoever has an endpoint in its file says so, every few seconds. What nobody has named for a while has ended.
NAME_ENDPOINTS = Statement(
    "name_endpoints",
    ("text[]", "double precision"),
    """
    INSERT INTO endpoints (name) SELECT name FROM unnest($1) AS name ORDER BY name
    ON CONFLICT (name) WHERE ended_at IS NULL DO UPDATE SET named_at = clock_timestamp()
    WHERE endpoints.named_at < clock_timestamp() - make_interval(secs => $2)
    RETURNING id
    """,
)

BEGIN_CURSORS = Statement(
    "begin_cursors",
    ("text", "bigint"),
    """
    INSERT INTO endpoint_cursors (endpoint_id, cursor, position)
    SELECT id, $1, $2 FROM endpoints WHERE ended_at IS NULL ON CONFLICT DO NOTHING RETURNING endpoint_id
    """,
)

ENDPOINTS = Statement(
    "list_endpoints",
    (),
    f"""
    SELECT id, name, endpoint_id IS NOT NULL, pause_reason,
        coalesce(CAST(extract(epoch FROM clock_timestamp() - failing_since) AS double precision), 0),
        coalesce((SELECT position FROM feed) - position, 0),
        {_IS_UNNAMED}
    FROM endpoints LEFT JOIN endpoint_cursors ON endpoint_id = id
    WHERE ended_at IS NULL
    """,
)

END_ENDPOINTS = Statement(
    "end_endpoints",
    ("integer[]", "integer"),
    f"""
    UPDATE endpoints SET ended_at = clock_timestamp()
    WHERE id = ANY ($1) AND ended_at IS NULL AND {_IS_UNNAMED}
    RETURNING name,
        (SELECT count(*) FROM (SELECT FROM delivery_lanes WHERE endpoint_id = id AND state < 2 LIMIT $2) AS few)
    """,
)

ENDED = Statement("ended_endpoints", (), "SELECT id FROM endpoints WHERE ended_at IS NOT NULL")

# What is left of an endpoint that has ended: so many conversations with all of their deliveries, and so many attempts.
FORGET_LANES = Statement(
    "forget_lanes",
    ("integer", "integer"),
    """
    WITH few AS MATERIALIZED (
        SELECT conversation_id, source_id FROM delivery_lanes WHERE endpoint_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    ),
    sent AS (
        DELETE FROM deliveries USING few
        WHERE deliveries.conversation_id = few.conversation_id AND deliveries.source_id = few.source_id
            AND endpoint_id = $1
    ),
    gone AS (
        DELETE FROM delivery_lanes USING few
        WHERE delivery_lanes.conversation_id = few.conversation_id AND delivery_lanes.source_id = few.source_id
            AND endpoint_id = $1
        RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)

FORGET_ATTEMPTS = Statement(
    "forget_attempts",
    ("integer", "integer"),
    """
    WITH gone AS (
        DELETE FROM delivery_attempts WHERE id IN (
            SELECT id FROM delivery_attempts WHERE endpoint_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)

# This forgets the attempts beyond the newest $3, and those that are too old.
FORGET_OLD_ATTEMPTS = Statement(
    "forget_old_attempts",
    ("integer", "boolean", "integer", "integer", "integer"),
    """
    WITH gone AS (
        DELETE FROM delivery_attempts WHERE id IN (
            SELECT id FROM (
                SELECT id, at FROM delivery_attempts WHERE endpoint_id = $1 AND (outcome = 'delivered') = $2
                ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
            ) AS oldest
            WHERE at < now() - make_interval(days => $5) OR id <= (
                SELECT id FROM delivery_attempts WHERE endpoint_id = $1 AND (outcome = 'delivered') = $2
                ORDER BY id DESC OFFSET $3 LIMIT 1
            )
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)

FORGET_ERASED_ATTEMPTS = Statement(
    "forget_erased_attempts",
    (),
    """
    WITH gone AS (
        DELETE FROM delivery_attempts WHERE id IN (
            SELECT id FROM delivery_attempts AS attempt WHERE NOT EXISTS (
                SELECT FROM conversations
                WHERE conversations.id = attempt.conversation_id AND conversations.source_id = attempt.source_id
            ) FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)

FORGET_ENDPOINT = Statement(
    "forget_endpoint",
    ("integer",),
    """
    WITH cursors AS (DELETE FROM endpoint_cursors WHERE endpoint_id = $1)
    DELETE FROM endpoints WHERE id = $1 AND ended_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM delivery_lanes WHERE endpoint_id = $1)
        AND NOT EXISTS (SELECT FROM delivery_attempts WHERE endpoint_id = $1)
    RETURNING 1
    """,
)

# The conversations that wait, and for how long the oldest one that is due has not been sent. Nothing is due to an
# endpoint that is paused, or that asked for a rest.
WAITING = Statement(
    "waiting_conversations",
    ("integer[]", "integer"),
    """
    SELECT id, (
        SELECT count(*) FROM (SELECT FROM delivery_lanes WHERE endpoint_id = id AND state < 2 LIMIT $2) AS few
    ), coalesce((
        SELECT CAST(greatest(0, extract(epoch FROM now() - greatest(due_at, held_until))) AS double precision)
        FROM delivery_lanes WHERE endpoint_id = id AND due_at <= now() AND paused_at IS NULL ORDER BY due_at LIMIT 1
    ), 0) FROM endpoints WHERE id = ANY ($1)
    """,
)

PAUSE = Statement(
    "pause_endpoint",
    ("integer", "text"),
    """
    UPDATE endpoints SET paused_at = clock_timestamp(), pause_reason = $2
    WHERE id = $1 AND paused_at IS NULL AND ended_at IS NULL RETURNING id
    """,
)

FIND = Statement(
    "find_endpoint",
    ("text",),
    """
    SELECT id, pause_reason, cursor FROM endpoints LEFT JOIN endpoint_cursors ON endpoint_id = id
    WHERE name = $1 AND ended_at IS NULL
    """,
)

RESUME = Statement(
    "resume_endpoint",
    ("integer",),
    """
    UPDATE endpoints SET paused_at = NULL, pause_reason = NULL, failing_since = NULL, held_until = NULL
    WHERE id = $1 AND ended_at IS NULL
    """,
)

# Whoever resumes an endpoint has mended it: its retries need not wait. Who opens lanes locks them in the same order.
HURRY = Statement(
    "hurry_lanes",
    ("integer",),
    """
    WITH waiting AS MATERIALIZED (
        SELECT conversation_id, source_id, endpoint_id FROM delivery_lanes
        WHERE endpoint_id = $1 AND due_at > now() AND state = 0
        ORDER BY conversation_id, source_id FOR UPDATE
    )
    UPDATE delivery_lanes SET due_at = now() FROM waiting
    WHERE delivery_lanes.conversation_id = waiting.conversation_id AND delivery_lanes.source_id = waiting.source_id
        AND delivery_lanes.endpoint_id = waiting.endpoint_id
    """,
)

# --- when the database's clock was set back ---

CLOCK = Statement("clock", (), "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")

FORGET_HOLDS = Statement(
    "forget_holds",
    ("integer[]",),
    """
    UPDATE endpoints SET held_until = NULL, sent_until = NULL, failing_since = least(failing_since, clock_timestamp())
    WHERE id = ANY ($1) AND greatest(held_until, sent_until, failing_since) > clock_timestamp()
    RETURNING id
    """,
)

# A lease is not ended, but it lasts no longer than one that is taken now. Of what waits, only retries may have a
# moment to come ($3: they are hurried, too). What is locked is being settled, by the clock as it is now.
HURRY_STRANDED = Statement(
    "hurry_stranded_lanes",
    ("integer[]", "double precision[]", "boolean", "integer"),
    """
    WITH stranded AS MATERIALIZED (
        SELECT conversation_id, source_id, lane.endpoint_id, lease_s
        FROM unnest($1, $2) AS wanted (endpoint_id, lease_s) JOIN delivery_lanes AS lane USING (endpoint_id)
        WHERE due_at > now() AND CASE state
            WHEN 0 THEN failures = 0 OR $3
            WHEN 1 THEN due_at > clock_timestamp() + make_interval(secs => lease_s)
            ELSE false END
        LIMIT $4 FOR UPDATE OF lane SKIP LOCKED
    ),
    hurried AS (
        UPDATE delivery_lanes
        SET due_at = CASE state WHEN 1 THEN clock_timestamp() + make_interval(secs => lease_s) ELSE now() END
        FROM stranded
        WHERE delivery_lanes.conversation_id = stranded.conversation_id
            AND delivery_lanes.source_id = stranded.source_id AND delivery_lanes.endpoint_id = stranded.endpoint_id
        RETURNING 1
    )
    SELECT count(*) FROM hurried
    """,
)
