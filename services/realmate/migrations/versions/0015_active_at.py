"""Lists of conversations are in the order of a column that no event within a group changes (docs/adr/0019).

An index on `updated_at` would make each event write to every index of the table (see 0013). `active_at` changes only
with what an index has anyway, and where it would lag `updated_at` by more than 60 s.

Rows of older versions have none, or an outdated one: they are dated when no older version is connected. `undated_from`
says how far that is.
"""

from __future__ import annotations

from alembic import op

from realmate.migrations.indexes import create_concurrently

revision = "0015"
down_revision = "0014"

_INDEXES = {"conversations_active": "conversations (source_id, status, active_at, id) WHERE status > 0"}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE conversations ADD COLUMN IF NOT EXISTS active_at timestamptz")
    op.execute(
        "COMMENT ON COLUMN conversations.active_at IS 'when it changed last, or at most 60 s before that; lists are in"
        " its order'"
    )
    op.execute("ALTER TABLE feed ADD COLUMN IF NOT EXISTS undated_from bigint DEFAULT 0")
    op.execute(
        "COMMENT ON COLUMN feed.undated_from IS 'the block of conversations from which on active_at may be wrong; null:"
        " it is right everywhere'"
    )
    create_concurrently(_INDEXES)


def downgrade() -> None:
    op.execute("ALTER TABLE conversations DROP COLUMN active_at")
    op.execute("ALTER TABLE feed DROP COLUMN undated_from")
