"""Groups whose reply comes from a source's own responder, until it is there."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    # Written with the end of the group, deleted with the OUTBOUND message: so there is exactly one.
    """
    CREATE TABLE reply_calls (
        conversation_id uuid NOT NULL,
        source_id integer NOT NULL,
        seq integer NOT NULL,
        first_seq integer NOT NULL,
        last_seq integer NOT NULL,
        made_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        attempts integer NOT NULL DEFAULT 0,
        PRIMARY KEY (conversation_id, source_id, seq)
    )
    """,
    "COMMENT ON COLUMN reply_calls.seq IS 'the reply''s place; first_seq and last_seq are its group''s'",
    "COMMENT ON COLUMN reply_calls.due_at IS 'of the next call; of one under way: when its caller counts as dead'",
    "CREATE INDEX reply_calls_due ON reply_calls (source_id, due_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE reply_calls")
