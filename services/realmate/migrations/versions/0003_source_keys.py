"""The keys of conversations and messages are their source's own: one id from two sources is two of them.

For the default source, which is all that the version before writes, they say what they said. Each new key is built
beside the old one and takes its place in a moment.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_LOCK_TIMEOUT = "SET lock_timeout = '5s'"  # rather fail, and be run again, than queue everybody up behind us

_KEYS = {
    "conversations_new_pkey": "conversations (id, source_id)",
    "messages_new_pkey": "messages (id, source_id)",
    "messages_in_conversation_new": "messages (conversation_id, source_id, seq)",
}

_SWAP = (
    """
    ALTER TABLE conversations DROP CONSTRAINT conversations_pkey,
        ADD CONSTRAINT conversations_pkey PRIMARY KEY USING INDEX conversations_new_pkey
    """,
    """
    ALTER TABLE messages DROP CONSTRAINT messages_pkey,
        ADD CONSTRAINT messages_pkey PRIMARY KEY USING INDEX messages_new_pkey
    """,
    "DROP INDEX messages_in_conversation",
    "ALTER INDEX messages_in_conversation_new RENAME TO messages_in_conversation",
)

_BACK = (
    "DELETE FROM messages WHERE source_id <> 0",
    "DELETE FROM conversations WHERE source_id <> 0",
    "ALTER TABLE conversations DROP CONSTRAINT conversations_pkey, ADD PRIMARY KEY (id)",
    "ALTER TABLE messages DROP CONSTRAINT messages_pkey, ADD PRIMARY KEY (id)",
    "DROP INDEX messages_in_conversation",
    "CREATE UNIQUE INDEX messages_in_conversation ON messages (conversation_id, seq)",
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(_LOCK_TIMEOUT)
        for name, columns in _KEYS.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # of an attempt that failed
            op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {columns}")
    for statement in _SWAP:
        op.execute(statement)


def downgrade() -> None:
    for statement in _BACK:
        op.execute(statement)
