"""The SQL of deliveries: made from the feed, claimed, and settled (docs/adr/0023).

Lanes are locked in the order of their keys by all who wait for one, and claimed by SKIP LOCKED. Who must see what the
last holder of a lane has left looks in a second statement, whose snapshot is younger than the lock.
"""

from __future__ import annotations

from realmate.domain.model import MessageKind
from realmate.runtime.transaction import Statement

WAITING, LEASED, EMPTY = 0, 1, 2
"""The states of a lane."""
KEY = ("uuid[]", "integer[]", "integer[]")
_ON_LANE = """
    delivery_lanes.conversation_id = {0}.conversation_id AND delivery_lanes.source_id = {0}.source_id
    AND delivery_lanes.endpoint_id = {0}.endpoint_id
"""
_OF_LANE = """
    deliveries.conversation_id = {0}.conversation_id AND deliveries.source_id = {0}.source_id
    AND deliveries.endpoint_id = {0}.endpoint_id
"""

# --- from the feed ---

BEHIND = Statement(
    "endpoints_behind",
    ("integer[]",),
    """
    SELECT endpoint_id FROM endpoint_cursors JOIN endpoints ON id = endpoint_id
    WHERE endpoint_id = ANY ($1) AND paused_at IS NULL AND ended_at IS NULL
        AND position < (SELECT position FROM feed)
    """,
)

LOCK_CURSOR = Statement(
    "lock_cursor",
    ("integer",),
    """
    SELECT cursor FROM endpoint_cursors JOIN endpoints ON id = endpoint_id
    WHERE endpoint_id = $1 AND paused_at IS NULL AND ended_at IS NULL FOR UPDATE OF endpoint_cursors SKIP LOCKED
    """,
)

MOVE_CURSOR = Statement(
    "move_cursor",
    ("integer", "text", "bigint"),
    "UPDATE endpoint_cursors SET cursor = $2, position = $3 WHERE endpoint_id = $1",
)

# `n` is drawn in the order of the events, by one transaction an endpoint at a time.
ADD_DELIVERIES = Statement(
    "add_deliveries",
    ("integer", "uuid[]", "integer[]", "integer[]", "text[]", "timestamptz[]"),
    """
    INSERT INTO deliveries (conversation_id, source_id, endpoint_id, place, type, at)
    SELECT conversation_id, source_id, $1, place, type, at
    FROM unnest($2, $3, $4, $5, $6) WITH ORDINALITY AS told (conversation_id, source_id, place, type, at, number)
    ORDER BY number
    """,
)

# A lane that is there is locked even where nothing about it changes: so it does not end before the new delivery is
# seen (`SETTLED`).
OPEN_LANES = Statement(
    "open_lanes",
    ("integer", "uuid[]", "integer[]"),
    f"""
    INSERT INTO delivery_lanes (conversation_id, source_id, endpoint_id)
    SELECT DISTINCT conversation_id, source_id, $1 FROM unnest($2, $3) AS told (conversation_id, source_id)
    ORDER BY conversation_id, source_id
    ON CONFLICT (conversation_id, source_id, endpoint_id) DO UPDATE SET state = {WAITING}, due_at = now()
    WHERE delivery_lanes.state = {EMPTY}
    """,
)

# --- to the endpoints ---

# now() and not clock_timestamp(): the index can be searched with it. The keys go through arrays, because Postgres takes
# a tenth of the table for what a LIMIT leaves that it does not know, and would read all lanes to update a few of them.
CLAIM = Statement(
    "claim_lanes",
    ("integer[]", "integer[]", "double precision[]"),
    f"""
    WITH due AS MATERIALIZED (
        SELECT lane.*, lease_s FROM unnest($1, $2, $3) AS wanted (endpoint_id, free, lease_s)
        JOIN endpoints ON id = wanted.endpoint_id AND paused_at IS NULL AND ended_at IS NULL
            AND (held_until IS NULL OR held_until <= now())
        CROSS JOIN LATERAL (
            SELECT conversation_id, source_id, endpoint_id FROM delivery_lanes
            WHERE endpoint_id = wanted.endpoint_id AND due_at <= now()
            ORDER BY due_at LIMIT free FOR UPDATE SKIP LOCKED
        ) AS lane
    )
    UPDATE delivery_lanes SET state = {LEASED}, claim = claim + 1,
        due_at = clock_timestamp() + make_interval(secs => lease_s)
    FROM unnest(
        ARRAY(SELECT conversation_id FROM due), ARRAY(SELECT source_id FROM due), ARRAY(SELECT endpoint_id FROM due),
        ARRAY(SELECT lease_s FROM due)
    ) AS claimed (conversation_id, source_id, endpoint_id, lease_s)
    WHERE {_ON_LANE.format("claimed")}
    RETURNING CAST(delivery_lanes.conversation_id AS text), delivery_lanes.source_id, delivery_lanes.endpoint_id, claim
    """,
)

# The oldest delivery of each lane, with its message. Contents are read at this moment, and erased ones are not there.
HEADS = Statement(
    "heads_of_lanes",
    KEY,
    f"""
    SELECT number, failures, gap, head.n, head.place, head.type, head.at, sources.name,
        CAST(message.id AS text), message.kind, message."timestamp", message.content
    FROM unnest($1, $2, $3) WITH ORDINALITY AS claimed (conversation_id, source_id, endpoint_id, number)
    JOIN delivery_lanes ON {_ON_LANE.format("claimed")}
    CROSS JOIN LATERAL (
        SELECT n, place, type, at FROM deliveries WHERE {_OF_LANE.format("claimed")} ORDER BY n LIMIT 1
    ) AS head
    JOIN sources ON sources.id = claimed.source_id
    LEFT JOIN messages AS message ON message.conversation_id = claimed.conversation_id
        AND message.source_id = claimed.source_id AND message.seq = head.place AND kind <> {MessageKind.HELD:d}
    """,
)

LOCK_RATES = Statement(
    "lock_rates",
    ("integer[]",),
    """
    SELECT id, greatest(0, coalesce(extract(epoch FROM sent_until - clock_timestamp()), 0)) FROM endpoints
    WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED
    """,
)

SPEND_RATES = Statement(
    "spend_rates",
    ("integer[]", "double precision[]"),
    """
    UPDATE endpoints SET sent_until = greatest(sent_until, clock_timestamp()) + make_interval(secs => spent_s)
    FROM unnest($1, $2) AS spent (endpoint_id, spent_s) WHERE id = endpoint_id
    """,
)

# --- settling ---

# A lane whose lease ended meanwhile is not returned: somebody else has it, or it is gone.
LOCK_LANES = Statement(
    "lock_lanes",
    (*KEY, "integer[]"),
    f"""
    SELECT number FROM unnest($1, $2, $3, $4) WITH ORDINALITY
        AS mine (conversation_id, source_id, endpoint_id, claim, number)
    JOIN delivery_lanes ON {_ON_LANE.format("mine")}
    WHERE delivery_lanes.claim = mine.claim AND state = {LEASED}
    ORDER BY mine.conversation_id, mine.source_id, mine.endpoint_id FOR UPDATE OF delivery_lanes
    """,
)

POSTPONE = Statement(
    "postpone_lanes",
    (*KEY, "double precision[]", "integer[]"),
    f"""
    UPDATE delivery_lanes SET state = {WAITING}, failures = failures + failed,
        due_at = clock_timestamp() + make_interval(secs => pause_s)
    FROM unnest($1, $2, $3, $4, $5) AS later (conversation_id, source_id, endpoint_id, pause_s, failed)
    WHERE {_ON_LANE.format("later")}
    """,
)

# What was erased meanwhile is gone, and no attempt at it is kept.
ADD_ATTEMPTS = Statement(
    "add_attempts",
    (*KEY, "bigint[]", "text[]", "integer[]", "integer[]", "text[]", "integer[]", "text[]", "bytea[]"),
    f"""
    INSERT INTO delivery_attempts (endpoint_id, conversation_id, source_id, event_id, type, place, event_at, attempt,
        took_ms, outcome, status, failure, answer)
    SELECT deliveries.endpoint_id, deliveries.conversation_id, deliveries.source_id, event_id, type, place,
        deliveries.at, attempt, took_ms, outcome, status, failure, answer
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS made (
        conversation_id, source_id, endpoint_id, n, event_id, attempt, took_ms, outcome, status, failure, answer)
    JOIN deliveries ON {_OF_LANE.format("made")} AND deliveries.n = made.n
    """,
)

FINISH = Statement(
    "finish_deliveries",
    (*KEY, "bigint[]"),
    f"""
    DELETE FROM deliveries USING unnest($1, $2, $3, $4) AS done (conversation_id, source_id, endpoint_id, n)
    WHERE {_OF_LANE.format("done")} AND deliveries.n = done.n
    """,
)

# A lane goes on with its next delivery. Without one it ends, unless it has to remember that one was given up.
GO_ON = Statement(
    "go_on_with_lanes",
    (*KEY, "boolean[]", "double precision"),
    f"""
    WITH done AS MATERIALIZED (
        SELECT said.*, EXISTS (SELECT FROM deliveries WHERE {_OF_LANE.format("said")}) AS has_next
        FROM unnest($1, $2, $3, $4) AS said (conversation_id, source_id, endpoint_id, gap)
    ),
    ended AS (
        DELETE FROM delivery_lanes USING done
        WHERE {_ON_LANE.format("done")} AND NOT has_next AND NOT coalesce(done.gap, delivery_lanes.gap)
    )
    UPDATE delivery_lanes SET failures = 0, gap = coalesce(done.gap, delivery_lanes.gap),
        state = CASE WHEN has_next THEN {WAITING} ELSE {EMPTY} END,
        due_at = CASE WHEN has_next THEN clock_timestamp() ELSE clock_timestamp() + make_interval(secs => $5) END
    FROM done WHERE {_ON_LANE.format("done")} AND (has_next OR coalesce(done.gap, delivery_lanes.gap))
    """,
)

# What the attempts of one transaction say about their endpoints. Where all is well nothing is written.
NOTE = Statement(
    "note_outcomes",
    ("integer[]", "boolean[]", "boolean[]", "double precision[]", "double precision[]"),
    """
    UPDATE endpoints SET
        failing_since = CASE WHEN succeeded THEN NULL ELSE coalesce(failing_since, clock_timestamp()) END,
        held_until = CASE WHEN hold_s > 0 THEN greatest(held_until, clock_timestamp() + make_interval(secs => hold_s))
            ELSE held_until END,
        paused_at = CASE WHEN is_gone OR too_long THEN clock_timestamp() END,
        pause_reason = CASE WHEN is_gone THEN 'gone' WHEN too_long THEN 'failing' END
    FROM (
        SELECT said.*, NOT succeeded AND coalesce(
            failing_since < clock_timestamp() - make_interval(secs => pause_after_s), false
        ) AS too_long
        FROM unnest($1, $2, $3, $4, $5) AS said (endpoint_id, succeeded, is_gone, hold_s, pause_after_s)
        JOIN endpoints ON id = endpoint_id
    ) AS said
    WHERE id = endpoint_id AND paused_at IS NULL
        AND (is_gone OR too_long OR hold_s > 0 OR (failing_since IS NULL) <> succeeded)
    RETURNING name, pause_reason
    """,
)
