"""Copies of what people wrote can be found: keys and refusals by their conversation, conversations that never opened.

The version before writes none of the new columns; what it stores is found by its text, or by its age.
"""

from __future__ import annotations

from alembic import op

from realmate.migrations.indexes import create_concurrently

revision = "0010"
down_revision = "0009"

_COLUMNS = (
    "ALTER TABLE idempotency_keys ADD COLUMN IF NOT EXISTS conversation_id uuid",
    "ALTER TABLE rejections ADD COLUMN IF NOT EXISTS idempotency_key text",
    "COMMENT ON COLUMN idempotency_keys.conversation_id IS 'null: the event named none that could be recognized'",
    "COMMENT ON COLUMN rejections.idempotency_key IS 'under which the refusal is remembered in idempotency_keys'",
)

_INDEXES = {
    "idempotency_keys_of_conversation": "idempotency_keys (conversation_id) WHERE conversation_id IS NOT NULL",
    "idempotency_keys_of_nothing": "idempotency_keys (source_id, key) WHERE conversation_id IS NULL",
    "rejections_of_message": "rejections (message_id) WHERE conversation_id IS NULL AND message_id IS NOT NULL",
    "conversations_unopened": "conversations (source_id, updated_at) WHERE status = 0 AND due_at IS NULL",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")  # rather fail, and be run again, than queue everybody up behind us
    for statement in _COLUMNS:
        op.execute(statement)
    create_concurrently(_INDEXES)


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("ALTER TABLE idempotency_keys DROP COLUMN conversation_id")
    op.execute("ALTER TABLE rejections DROP COLUMN idempotency_key")
