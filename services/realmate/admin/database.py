"""The database as a person at a terminal uses it: one connection, errors for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from realmate.runtime.settings import sqlalchemy_url


class AdminError(Exception):
    """It cannot be done; the message says why and what to do, for a person."""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection in autocommit mode. Raises AdminError, also for what goes wrong on it inside."""
    engine = create_engine(
        sqlalchemy_url(url),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 3, "application_name": "realmate-admin", "options": "-c timezone=UTC"},
    )
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        raise AdminError(f"the database is not reachable: {str(error.orig).strip().splitlines()[0]}") from error
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != "42P01":  # undefined_table
            raise
        raise AdminError("the database is not migrated: run `realmate migrate`") from error
