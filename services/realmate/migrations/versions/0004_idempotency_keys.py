"""What became of an event that came with an idempotency key, for as long as it may come again."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    # Written with the event itself, so that whoever comes second finds what became of the first.
    """
    CREATE TABLE idempotency_keys (
        source_id integer NOT NULL,
        key text NOT NULL,
        first_at timestamptz NOT NULL DEFAULT now(),
        verdict text NOT NULL,
        digest bytea NOT NULL,
        PRIMARY KEY (source_id, key)
    )
    """,
    "COMMENT ON COLUMN idempotency_keys.digest IS 'of the request''s body: with another one the key does not fit'",
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (first_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys")
