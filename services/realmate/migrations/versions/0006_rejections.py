"""What was refused, and what expired, with the reason."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

_STATEMENTS = (
    """
    CREATE TABLE rejections (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source_id integer NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        code text NOT NULL,
        detail text NOT NULL DEFAULT '',
        request_id text,
        conversation_id uuid,
        message_id uuid,
        body bytea NOT NULL,
        replayed_at timestamptz,
        replay_status smallint,
        replay_code text
    )
    """,
    "COMMENT ON COLUMN rejections.code IS 'the answer''s; or expired: a held message whose conversation did not come'",
    "COMMENT ON COLUMN rejections.body IS 'the event: as it came where it was not valid, else as one would write it'",
    "COMMENT ON COLUMN rejections.replay_status IS 'what the event was answered when realmate replay sent it again'",
    "CREATE INDEX rejections_of_source ON rejections (source_id, id)",
    "CREATE INDEX rejections_of_conversation ON rejections (conversation_id) WHERE conversation_id IS NOT NULL",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE rejections")
