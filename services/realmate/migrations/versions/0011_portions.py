"""The sweep takes from each source by itself, and knows how much is held for a conversation.

Null means "not counted", or "never failed". The version before writes none of these columns, and disturbs nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

_COLUMNS = {"held_messages": "integer", "held_bytes": "bigint", "failed_sweeps": "smallint"}
_COMMENTS = {
    "held_messages": "how many messages wait for this PENDING conversation",
    "held_bytes": "the size of their contents",
    "failed_sweeps": "how often the sweep failed on this conversation alone; due_at is then when it is tried again",
}
_INDEXES = {
    "conversations_due_of_source": "(source_id, due_at) WHERE due_at IS NOT NULL",
    "conversations_holding": "(source_id) WHERE status = 0 AND due_at IS NOT NULL",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name, type_ in _COLUMNS.items():
        op.execute(f"ALTER TABLE conversations ADD COLUMN IF NOT EXISTS {name} {type_}")
        op.execute(f"COMMENT ON COLUMN conversations.{name} IS '{_COMMENTS[name]}'")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, definition in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # of an attempt that failed
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON conversations {definition}")


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE conversations DROP COLUMN {name}")
