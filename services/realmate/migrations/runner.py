"""Brings a database to this version's schema. Called by `realmate migrate` alone, never by a service's replica.

Safe to run twice and at the same time: a session-level advisory lock makes the second one wait and find nothing to do.
Safe to run after a rollback: a schema newer than this version is left as it is, since it still serves this version
(docs/architecture.md, "Changing the schema").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from realmate.errors import UserError
from realmate.migrations import roles
from realmate.migrations.roles import Logins
from realmate.runtime.database_errors import DatabaseUnreachable
from realmate.runtime.postgres import open_engine, wrong_encoding

LOCK_INTERVAL_S = 0.2
INSUFFICIENT_PRIVILEGE = "42501"
_LOCK = 7_263_546  # any number that only Realmate's migrations use in this database


class MigrationRejected(UserError):
    """The database cannot be migrated as it is; the message says why and what to do, for a person."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The revisions before and after an upgrade; `before` is None for an empty database."""

    before: str | None
    after: str
    is_ahead: bool = False
    """The database is that of a later version."""
    rejected: tuple[str, ...] = ()
    """What could not be done for the services' roles, a line each."""


def upgrade(database_url: str, logins: Logins | None = None, *, connect_timeout_s: int = 5) -> Upgrade:
    """Apply what is missing, each revision all or nothing, and give the roles their rights.

    Raise DatabaseUnreachable, MigrationRejected or RolesError.
    """
    engine = open_engine(
        database_url, "realmate-migrate", network={"connect_timeout": connect_timeout_s}, poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            _check(connection)
            return _upgrade(connection, logins or Logins())
    except OperationalError as error:
        raise DatabaseUnreachable(_first_line(error)) from error
    except DBAPIError as error:
        raise MigrationRejected(_explained(error)) from error
    finally:
        engine.dispose()


def _check(connection: Connection) -> None:
    """Raise MigrationRejected where the migrated database would be of no use, or a lock of the session not hold."""
    if wrong := wrong_encoding(connection.execute(text("SHOW server_encoding")).scalar_one()):
        raise MigrationRejected(wrong)
    if getattr(connection.connection.driver_connection, "pooled", False):
        raise MigrationRejected(
            "a connection pooler (such as PgBouncer) stands before the database: run the migration with the"
            " DATABASE_URL of Postgres itself"
        )
    connection.commit()


def _explained(error: DBAPIError) -> str:
    said = _first_line(error)
    if getattr(error.orig, "pgcode", None) == INSUFFICIENT_PRIVILEGE:
        return (
            f"the role of DATABASE_URL lacks a right ({said}): the migration needs CREATE on the schema"
            " (GRANT CREATE ON SCHEMA public TO the role) and has to own Realmate's tables"
        )
    return f"Postgres rejects the migration: {said}"


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _upgrade(connection: Connection, logins: Logins) -> Upgrade:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    # With each revision, in its transaction: whoever sees the new tables may use them.
    config.attributes["on_version_apply"] = lambda **_: roles.grant(connection, logins)
    _lock(connection)
    before = MigrationContext.configure(connection).get_current_revision()
    connection.commit()  # the lock is the session's, not the transaction's
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    is_ahead = before is not None and before.isdigit() and before > head  # our revisions are 0001, 0002, …
    rejected = roles.make(connection, logins)
    connection.commit()
    if not is_ahead:
        command.upgrade(config, "head")
    rejected += roles.grant(connection, logins)
    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    connection.commit()
    return Upgrade(before, before if before and is_ahead else head, is_ahead=is_ahead, rejected=tuple(rejected))


def _lock(connection: Connection) -> None:
    """Ask again and again, rather than wait in Postgres: CREATE INDEX CONCURRENTLY waits for all who wait in there."""
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}).scalar_one():
        connection.commit()
        time.sleep(LOCK_INTERVAL_S)
