"""A group knows when it began and how large it is, for sources that limit either.

Null in a group that the version before began, or went on with: its last message then counts as its first.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = {"group_first_at": "timestamptz", "group_size": "integer"}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name, type_ in _COLUMNS.items():
        op.execute(f"ALTER TABLE conversations ADD COLUMN {name} {type_}")


def downgrade() -> None:
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE conversations DROP COLUMN {name}")
