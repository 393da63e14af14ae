"""What retention looks for is found by a column that no event within a group changes.

The two indexes on `updated_at` had made each such event write to every index of the table: Postgres leaves a row's
entries alone only where no column of any index changes, partial ones included (HOT).

Rows that the version before settles, or has settled, have no `settled_at`: retention fills it in. Until the last pod of
that version is gone, its own retention reads the whole table.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

_INDEXES = {
    "conversations_settled": "(source_id, status, settled_at) WHERE settled_at IS NOT NULL",
    "conversations_undated": "(source_id) WHERE settled_at IS NULL AND (status = 2 OR status = 0 AND due_at IS NULL)",
}
_BEFORE = {
    "conversations_closed": "(source_id, updated_at) WHERE status = 2",
    "conversations_unopened": "(source_id, updated_at) WHERE status = 0 AND due_at IS NULL",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE conversations ADD COLUMN IF NOT EXISTS settled_at timestamptz")
    op.execute(
        "COMMENT ON COLUMN conversations.settled_at IS 'the last change of what is CLOSED, or never opened and holds"
        " nothing that waits; null for all others'"
    )
    _exchange(_INDEXES, _BEFORE)


def downgrade() -> None:
    _exchange(_BEFORE, _INDEXES)
    op.execute("ALTER TABLE conversations DROP COLUMN settled_at")


def _exchange(wanted: dict[str, str], unwanted: dict[str, str]) -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, definition in wanted.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # of an attempt that failed
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON conversations {definition}")
        for name in unwanted:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
