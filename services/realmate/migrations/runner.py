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
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from realmate.runtime.settings import sqlalchemy_url

LOCK_INTERVAL_S = 0.2
_LOCK = 7_263_546  # any number that only Realmate's migrations use in this database


class DatabaseUnreachable(Exception):
    """The database does not answer; the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What `upgrade` found and left: revision names; `before` is None for an empty database."""

    before: str | None
    after: str
    is_ahead: bool = False
    """The database is that of a later version."""


def upgrade(database_url: str, *, connect_timeout_s: int = 5) -> Upgrade:
    """Apply what is missing, each revision all or nothing. Raise DatabaseUnreachable."""
    engine = create_engine(
        sqlalchemy_url(database_url), poolclass=NullPool, connect_args={"connect_timeout": connect_timeout_s}
    )
    try:
        with engine.connect() as connection:
            return _upgrade(connection)
    except OperationalError as error:
        raise DatabaseUnreachable(str(error.orig).strip().replace("\n", " ")) from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> Upgrade:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    _lock(connection)
    before = MigrationContext.configure(connection).get_current_revision()
    connection.commit()  # the lock is the session's, not the transaction's
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    is_ahead = before is not None and before.isdigit() and before > head  # our revisions are 0001, 0002, …
    if not is_ahead:
        command.upgrade(config, "head")
    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    connection.commit()
    return Upgrade(before, before if before and is_ahead else head, is_ahead=is_ahead)


def _lock(connection: Connection) -> None:
    """Ask again and again, rather than wait in Postgres: CREATE INDEX CONCURRENTLY waits for all who wait in there."""
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}).scalar_one():
        connection.commit()
        time.sleep(LOCK_INTERVAL_S)
