"""What was erased, when and why: the history of runs, without a trace of whom it was about."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

_TABLE = """
    CREATE TABLE erasures (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source_id integer NOT NULL,
        reason text NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz NOT NULL,
        conversations bigint NOT NULL,
        messages bigint NOT NULL,
        rejections bigint NOT NULL
    )
"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute("COMMENT ON COLUMN erasures.reason IS 'retention, or what a person asked for: conversation, source'")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS conversations_closed")  # of an attempt that failed
        op.execute(
            "CREATE INDEX CONCURRENTLY conversations_closed ON conversations (source_id, updated_at) WHERE status = 2"
        )


def downgrade() -> None:
    op.execute("DROP INDEX conversations_closed")
    op.execute("DROP TABLE erasures")
