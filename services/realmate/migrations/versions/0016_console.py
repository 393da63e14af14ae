"""What the console and its API keep: the audit, jobs, and the events of each hour; and indexes of rejections.

Nobody may change or delete a line of the audit. What is older than 400 days goes by `realmate_forget_audit` alone,
which runs with the rights of the tables' owner, and can do nothing else.
"""

from __future__ import annotations

from alembic import op

from realmate.migrations.indexes import create_concurrently

revision = "0016"
down_revision = "0015"

_STATEMENTS = (
    """
    CREATE TABLE IF NOT EXISTS audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        who text NOT NULL,
        address text NOT NULL,
        action text NOT NULL,
        source text,
        target text NOT NULL DEFAULT '',
        outcome text NOT NULL
    )
    """,
    "COMMENT ON TABLE audit IS 'who did what by way of /admin/ and the console; lines are only ever added'",
    "COMMENT ON COLUMN audit.who IS 'the name of the token'",
    """
    CREATE OR REPLACE FUNCTION realmate_forget_audit() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
        WITH forgotten AS (
            DELETE FROM audit WHERE id IN (
                SELECT id FROM audit WHERE at < now() - interval '400 days' ORDER BY id LIMIT 1000
            ) RETURNING 1
        )
        SELECT count(*) FROM forgotten
    $$
    """,
    """
    CREATE TABLE IF NOT EXISTS jobs (
        id uuid PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('replay', 'erasure')),
        state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text NOT NULL,
        finished_at timestamptz,
        request jsonb NOT NULL,
        progress jsonb NOT NULL,
        error text,
        idempotency_key text,
        leased_until timestamptz NOT NULL DEFAULT '-infinity',
        UNIQUE (created_by, idempotency_key)
    )
    """,
    "CREATE INDEX IF NOT EXISTS jobs_newest ON jobs (kind, created_at, id)",
    "CREATE INDEX IF NOT EXISTS jobs_running ON jobs (leased_until) WHERE state = 'running'",
    "COMMENT ON COLUMN jobs.leased_until IS 'until then one replica of the console works on it'",
    """
    CREATE TABLE IF NOT EXISTS source_hours (
        source_id integer NOT NULL,
        hour timestamptz NOT NULL,
        accepted bigint NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (source_id, hour)
    )
    """,
    "COMMENT ON TABLE source_hours IS 'the accepted events of each source and hour, counted from the feed'",
    """
    CREATE TABLE IF NOT EXISTS counted_changes (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        position bigint NOT NULL
    )
    """,
    "COMMENT ON TABLE counted_changes IS 'the position in the feed up to which source_hours counts'",
    "INSERT INTO counted_changes (position) SELECT position FROM feed ON CONFLICT DO NOTHING",
)

_INDEXES = {
    "rejections_by_time": "rejections (at, id)",
    "rejections_of_source_by_time": "rejections (source_id, at, id)",
    "rejections_of_code": "rejections (code, at, id)",
    "rejections_replayed": "rejections (at, id) WHERE replayed_at IS NOT NULL",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)
    create_concurrently(_INDEXES)


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP FUNCTION realmate_forget_audit()")
    op.execute("DROP TABLE audit, jobs, source_hours, counted_changes")
