"""The function in which writes run, so that no statement fails that has what people wrote in its text (ADR 11).

It catches every error, a statement timeout included, and tells its SQLSTATE and the violated constraint by a notice.
Postgres logs no caught error. What the commands wrote until then is undone.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

_FUNCTION = """
    CREATE FUNCTION realmate_attempt(commands text) RETURNS void LANGUAGE plpgsql AS $function$
    DECLARE
        violated text;
    BEGIN
        EXECUTE commands;
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
        GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
        RAISE NOTICE 'realmate_attempt:%:%', SQLSTATE, violated;
    END
    $function$
"""


def upgrade() -> None:
    op.execute(_FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION realmate_attempt")
