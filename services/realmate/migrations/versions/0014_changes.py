"""The feed of changes: one row a writing transaction, numbered after its commit (docs/adr/0018).

`feed` has one row. Whoever numbers locks it, so positions become visible in their order.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

_STATEMENTS = (
    # `n` must be drawn by the insert itself, after all locks are held, and never in advance: hence no cache.
    """
    CREATE TABLE changes (
        n bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
        position bigint,
        at timestamptz NOT NULL,
        mark integer NOT NULL DEFAULT CAST(random() * 2147483646 AS integer),
        touched bytea NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX changes_by_position ON changes (position) WHERE position IS NOT NULL",
    "CREATE INDEX changes_unnumbered ON changes (n) WHERE position IS NULL",
    "COMMENT ON COLUMN changes.position IS 'its place in the feed; null until it is numbered, after its commit'",
    "COMMENT ON COLUMN changes.mark IS 'random: tells this change from another one that got its position later'",
    "COMMENT ON COLUMN changes.touched IS 'a list of entries; realmate.domain.changes has their form'",
    """
    CREATE TABLE feed (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        position bigint NOT NULL,
        complete_from bigint
    ) WITH (fillfactor = 20)
    """,
    "COMMENT ON COLUMN feed.position IS 'the position that was given last'",
    """
    COMMENT ON COLUMN feed.complete_from IS
        'every change after this position is in the feed; null while a version writes that adds no changes'
    """,
    "INSERT INTO feed (position) VALUES (0)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE changes, feed")
