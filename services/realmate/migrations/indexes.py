"""Indexes that are made while the services run."""

from __future__ import annotations

from collections.abc import Mapping

from alembic import op


def create_concurrently(indexes: Mapping[str, str]) -> None:
    """Make indexes, by their names, on `table (columns)`. What was done before it in the migration is committed.

    What an attempt that failed has left is made anew. Rather than queue everybody up behind it, it fails after 5 s, and
    can be run again.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, columns in indexes.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
