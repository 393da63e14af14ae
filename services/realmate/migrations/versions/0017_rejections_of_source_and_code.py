"""The index that finds the rejections of one source with one code, however few they are."""

from __future__ import annotations

from alembic import op

from realmate.migrations.indexes import create_concurrently

revision = "0017"
down_revision = "0016"

_INDEXES = {"rejections_of_source_and_code": "rejections (source_id, code, at, id)"}


def upgrade() -> None:
    create_concurrently(_INDEXES)


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
