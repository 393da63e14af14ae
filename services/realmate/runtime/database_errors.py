"""The errors of the database: whose fault each is, and whether another try helps.

psycopg2's own classes do not tell: a primary that became a standby (25006) is an InternalError to it. So the
five-character SQLSTATE decides. Messages name a condition, never a value: what people wrote must not reach a log.
"""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errors
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from realmate.errors import RealmateError, UserError

UNIQUE_VIOLATION = "23505"
SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
READ_ONLY = "25006"
CONNECTION_LOST = "08006"
QUERY_CANCELED = "57014"

_OUTAGES = ("08", "53", "55P03", "57", "58", READ_ONLY, "25P03", "25P04")
"""These are: no connection, no resources, a lock timeout, an operator's intervention, a system error, a standby, a
timeout."""
_ENDS_CONNECTION = ("08", "53", "57P", "58", READ_ONLY, "25P03", "25P04")
_ENDS_POOL = ("08", "57P", READ_ONLY)
"""This server goes down, or is not the primary any more: whoever is connected to it is at the wrong place."""
_NAMES_VALUES = ("22", "23")
"""The messages of these classes repeat values."""


class Outage(RealmateError):
    """The database is away, restarting, full or slow. The same work may succeed later, or elsewhere."""

    may_pass = True


class Conflict(RealmateError):
    """Another transaction came first. The same work will succeed when it looks again."""

    may_pass = True


class DatabaseTimeout(Outage):
    """The database did not answer within the time there was."""


class DatabaseUnreachable(Outage, UserError):
    """The database does not answer, or does not let us in. The message is for a person."""


class Overtaken(Conflict):
    """Another transaction wrote the same new row first."""


class StatementFailed(RealmateError):
    """Postgres rejected a statement, and would again. What people wrote to each other is not in the message."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class DatabaseUnavailable(Outage):
    """Postgres is away, restarting, full, slow or no primary: the same work may succeed later, or elsewhere."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class DatabaseConflict(Conflict):
    """Another transaction came first. The same work will succeed when it looks again."""


def translated(error: psycopg2.Error, *, is_closed: bool) -> Exception:
    """The error of ours that stands for one of psycopg2's."""
    if is_closed and error.pgcode is None:  # libpq has no better word for some ways to lose it
        return DatabaseUnavailable(CONNECTION_LOST, "the connection was lost")
    if error.pgcode is None and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return DatabaseUnavailable(None, str(error).strip().partition("\n")[0])
    return failure(error.pgcode, error.diag.message_primary, constraint=error.diag.constraint_name)


def failure(code: str | None, message: str | None = None, *, constraint: str | None = None) -> Exception:
    """The error of ours for a SQLSTATE."""
    code = code or "XX000"
    if code == UNIQUE_VIOLATION:
        return Overtaken(constraint)
    said = message if message and not code.startswith(_NAMES_VALUES) else _condition(code)
    if code in {SERIALIZATION_FAILURE, DEADLOCK_DETECTED}:
        return DatabaseConflict(f"{code}: {said}")
    if code.startswith(_OUTAGES):
        return DatabaseUnavailable(code, said)
    return StatementFailed(code, said)


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction came first. The same work will succeed when it looks again."""
    return isinstance(error, Conflict)


def is_outage(error: BaseException) -> bool:
    """The database is away, restarting, full or slow; the same work may succeed later."""
    if isinstance(error, DBAPIError):  # SQLAlchemy's
        return isinstance(error, InterfaceError | OperationalError) or error.connection_invalidated
    return isinstance(error, Outage | psycopg2.InterfaceError | psycopg2.OperationalError)


def is_timeout(error: BaseException) -> bool:
    """It took longer than there was time for: less work at once may succeed."""
    if isinstance(error, DatabaseUnavailable):
        return error.code == QUERY_CANCELED
    return isinstance(error, DatabaseTimeout)


def ends_connection(error: BaseException) -> bool:
    """Whether the connection on which it happened must not be used again."""
    return isinstance(error, DatabaseUnavailable) and (error.code or CONNECTION_LOST).startswith(_ENDS_CONNECTION)


def ends_pool(error: BaseException) -> bool:
    """Whether every other connection to the same server is as useless."""
    return isinstance(error, DatabaseUnavailable) and (error.code or CONNECTION_LOST).startswith(_ENDS_POOL)


def _condition(code: str) -> str:
    """PostgreSQL's name for it, as in `InvalidTextRepresentation`."""
    try:
        found: Any = errors.lookup(code)
    except KeyError:
        return "an unknown error"
    return str(found.__name__)
