"""What is due is found by `conversations_due_of_source` alone, since each event writes to each index on `due_at`.

The sweep of the version before asks for what is due of all sources together. Until its last pod is gone it reads the
whole of that index, which has as many entries as conversations wait for something: some ms for ten thousand of them.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS conversations_due")


def downgrade() -> None:
    op.execute("CREATE INDEX conversations_due ON conversations (due_at) WHERE due_at IS NOT NULL")
