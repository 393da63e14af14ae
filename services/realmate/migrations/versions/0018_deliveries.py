"""Outbound webhooks: the endpoints, their places in the feed, what they are to be sent, and what became of it
(docs/adr/0023).

A *lane* is one conversation's way to one endpoint. It is the lock, the timer and the lease of the deliveries in it, of
which the oldest is sent while the others wait.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"

_STATEMENTS = (
    """
    CREATE TABLE endpoints (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        named_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        paused_at timestamptz,
        pause_reason text CHECK (pause_reason IN ('asked', 'failing', 'gone', 'expired', 'recovering')),
        failing_since timestamptz,
        held_until timestamptz,
        sent_until timestamptz,
        CHECK ((paused_at IS NULL) = (pause_reason IS NULL))
    )
    """,
    "CREATE UNIQUE INDEX endpoints_by_name ON endpoints (name) WHERE ended_at IS NULL",
    "COMMENT ON COLUMN endpoints.named_at IS 'when a deliveries process last had it in its file of sources'",
    "COMMENT ON COLUMN endpoints.ended_at IS 'it is in no file any more; what is left of it is being deleted'",
    "COMMENT ON COLUMN endpoints.failing_since IS 'the first failure since the last success'",
    "COMMENT ON COLUMN endpoints.held_until IS 'the receiver asked (Retry-After) not to be sent anything before'",
    "COMMENT ON COLUMN endpoints.sent_until IS 'how far its rate is used up (GCRA: the theoretical arrival time)'",
    # Apart from its endpoint: whoever follows the feed locks this row, and nobody who sends waits for that.
    """
    CREATE TABLE endpoint_cursors (
        endpoint_id integer PRIMARY KEY,
        cursor text NOT NULL,
        position bigint NOT NULL
    ) WITH (fillfactor = 20)
    """,
    "COMMENT ON COLUMN endpoint_cursors.cursor IS 'the place in the feed up to which its deliveries are made'",
    """
    CREATE TABLE delivery_lanes (
        conversation_id uuid NOT NULL,
        source_id integer NOT NULL,
        endpoint_id integer NOT NULL,
        state smallint NOT NULL DEFAULT 0,
        due_at timestamptz NOT NULL DEFAULT now(),
        failures integer NOT NULL DEFAULT 0,
        claim integer NOT NULL DEFAULT 0,
        gap boolean NOT NULL DEFAULT false,
        PRIMARY KEY (conversation_id, source_id, endpoint_id)
    )
    """,
    "CREATE INDEX delivery_lanes_due ON delivery_lanes (endpoint_id, due_at)",
    "COMMENT ON COLUMN delivery_lanes.state IS '0 its oldest delivery waits, 1 a process has the lease, 2 it is empty'",
    """
    COMMENT ON COLUMN delivery_lanes.due_at IS
        'when its oldest delivery is sent; of a leased lane, when the lease ends; of an empty one, when it is forgotten'
    """,
    "COMMENT ON COLUMN delivery_lanes.failures IS 'of its oldest delivery'",
    "COMMENT ON COLUMN delivery_lanes.claim IS 'counts the leases: whoever has an older one changes nothing any more'",
    "COMMENT ON COLUMN delivery_lanes.gap IS 'a delivery was given up since the last success'",
    # No content: that is read when the delivery is sent, so that erasing reaches it.
    """
    CREATE TABLE deliveries (
        conversation_id uuid NOT NULL,
        source_id integer NOT NULL,
        endpoint_id integer NOT NULL,
        n bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
        place integer NOT NULL,
        type text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (conversation_id, source_id, endpoint_id, n)
    )
    """,
    "COMMENT ON COLUMN deliveries.place IS 'the position of its message, or one of the places in realmate.feed'",
    "COMMENT ON COLUMN deliveries.at IS 'the moment of its change'",
    """
    CREATE TABLE delivery_attempts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        endpoint_id integer NOT NULL,
        conversation_id uuid NOT NULL,
        source_id integer NOT NULL,
        event_id text NOT NULL,
        type text NOT NULL,
        place integer NOT NULL,
        event_at timestamptz NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        attempt integer NOT NULL,
        took_ms integer NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('delivered', 'failed', 'given_up')),
        status integer,
        failure text NOT NULL,
        answer bytea NOT NULL
    )
    """,
    "CREATE INDEX delivery_attempts_newest ON delivery_attempts (endpoint_id, (outcome = 'delivered'), id)",
    "CREATE INDEX delivery_attempts_of_conversation ON delivery_attempts (conversation_id, source_id)",
    "COMMENT ON COLUMN delivery_attempts.answer IS 'the first bytes of the receiver''s answer'",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE endpoints, endpoint_cursors, delivery_lanes, deliveries, delivery_attempts")
