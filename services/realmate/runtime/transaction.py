"""A transaction on Postgres in the fewest round trips it can be had, for the statements whose cost counts.

SQLAlchemy's pool lends the connection, and psycopg2 talks to the server; nothing is in between. Writes wait until
something is read or the commit goes out, and travel with it: lock and load, then write and commit, are two round trips.
Each connection prepares a statement when it first meets it, so Postgres plans it once.

(Through SQLAlchemy's session and Core, in four round trips, a batch of one cost twice the CPU: bench/LOG.md.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg2
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection


class Overtaken(Exception):
    """Another transaction wrote the same new row first."""


class StatementFailed(Exception):
    """Postgres refused a statement, and would again. What people wrote to each other is not in the message."""


class Statement(NamedTuple):
    """SQL with `$1`, `$2` … of these types."""

    name: str
    types: tuple[str, ...]
    text: str


def uuid_array(ids: Iterable[str]) -> str:
    """A value for a parameter of type `uuid[]`."""
    return "{" + ",".join(ids) + "}"


class Transaction:
    """Begun with its first statement. `Transactions.begin` makes one, and undoes what was not committed."""

    def __init__(self, connection: PoolProxiedConnection, *, begin: Sequence[str] = ("BEGIN",)) -> None:
        raw: Any = connection.driver_connection
        self._connection = raw
        self._cursor = raw.cursor()
        self._prepared: set[str] = connection.info.setdefault("prepared", set())
        self._texts = [*begin]
        self._values: list[object] = []

    def add(self, statement: Statement, *values: object) -> None:
        """Run it with the next fetch, or with the commit: whatever is wrong with it is raised there."""
        if statement.name not in self._prepared:
            self._run(f"PREPARE {statement.name}{_listed(statement.types)} AS {statement.text}")
            self._prepared.add(statement.name)
        self._texts.append(f"EXECUTE {statement.name}{_listed(['%s'] * len(values))}")
        self._values += values

    def fetch(self, statement: Statement, *values: object) -> list[tuple[Any, ...]]:
        self.add(statement, *values)
        self._send()
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    def commit(self) -> None:
        """Raise Overtaken where a row that was to be new is there already: then nothing was committed."""
        self._texts.append("COMMIT")
        self._send()
        if self._cursor.statusmessage != "COMMIT":
            raise StatementFailed(f"the commit came to a {self._cursor.statusmessage}")

    def undo(self) -> None:
        """Roll back what was begun and not committed."""
        if not self._connection.closed and self._connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            self._run("ROLLBACK")

    def _send(self) -> None:
        text, values = "; ".join(self._texts), self._values
        self._texts, self._values = [], []
        self._run(text, values)

    def _run(self, text: str, values: Sequence[object] | None = None) -> None:
        try:
            self._cursor.execute(text, values)
        except UniqueViolation as error:
            raise Overtaken(error.diag.constraint_name) from None
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            raise
        except psycopg2.Error as error:
            if self._connection.closed:  # libpq has no better word for some ways to lose it
                raise psycopg2.OperationalError("the connection was lost") from error
            raise StatementFailed(f"{error.pgcode}: {error.diag.message_primary}") from None


def _listed(items: Sequence[str]) -> str:
    return f" ({', '.join(items)})" if items else ""


class Transactions:
    """Transactions on one engine, whose connections must be in autocommit mode: BEGIN and COMMIT are said here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A transaction; without `commit()` it never was."""
        with self._lend() as connection:
            transaction = Transaction(connection)
            try:
                yield transaction
            finally:
                transaction.undo()

    def fetch(self, statement: Statement, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a single statement, which is a transaction by itself."""
        with self._lend() as connection:
            return Transaction(connection, begin=()).fetch(statement, *values)

    @contextmanager
    def _lend(self) -> Iterator[PoolProxiedConnection]:
        connection = self._engine.raw_connection()
        try:
            yield connection
        except BaseException:
            # An interrupted query leaves its connection unusable, and so does one that cannot be rolled back.
            if _is_unusable(connection):
                connection.invalidate()
            raise
        finally:
            with suppress(psycopg2.Error):
                connection.close()


def _is_unusable(connection: PoolProxiedConnection) -> bool:
    raw: Any = connection.driver_connection
    return bool(raw.closed) or raw.get_transaction_status() != TRANSACTION_STATUS_IDLE
