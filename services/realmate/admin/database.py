"""The database as a person at a terminal uses it: errors are for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from realmate.errors import UserError
from realmate.runtime.database_errors import DatabaseUnavailable, DatabaseUnreachable
from realmate.runtime.postgres import connect, open_engine


class AdminError(UserError):
    """It cannot be done; the message says why and what to do, for a person."""


def reach(url: str) -> None:
    """Raises DatabaseUnreachable."""
    try:
        connect(url, "realmate-admin").close()
    except psycopg2.OperationalError as error:
        raise _unreachable(error) from error


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """The database in autocommit mode. Raises AdminError, also for what goes wrong on it inside."""
    engine = open_engine(url, "realmate-admin", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            if connection.execute(text("SELECT to_regclass('erasures')")).scalar() is None:
                raise AdminError("the database is not that of this version: run `realmate migrate`")
        yield engine
    except (OperationalError, psycopg2.OperationalError, DatabaseUnavailable) as error:
        raise _unreachable(error) from error
    finally:
        engine.dispose()


def _unreachable(error: Exception) -> DatabaseUnreachable:
    said = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return DatabaseUnreachable(f"the database is not reachable: {said}")
