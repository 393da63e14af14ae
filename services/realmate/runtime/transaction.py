"""A transaction on Postgres in the fewest round trips it can be had, for the statements whose cost counts.

SQLAlchemy's pool lends the connection, and psycopg2 talks to the server; nothing is in between. Writes wait until
something is read or the commit goes out, and travel with it: lock and load, then write and commit, are two round trips.
Each connection prepares a statement when it first meets it, so Postgres plans it once.

psycopg2 writes the values into the statement's text, and Postgres logs the text of a statement that fails. So the
writes that go out with a commit run inside `realmate_attempt`, a function that catches whatever fails in it: then
nothing was written, and a notice says why, without a value. No statement fails, and nothing is logged. Where Postgres
is set to log no such text, as in our own set-ups, that is not needed: the writes go out as they are (ADR 11).

(Through SQLAlchemy's session and Core, in four round trips, a batch of one cost twice the CPU: bench/LOG.md.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from realmate.runtime.database_errors import (
    Overtaken,
    StatementFailed,
    ends_connection,
    ends_pool,
    failure,
    translated,
)

__all__ = ["Overtaken", "Statement", "StatementFailed", "Transaction", "Transactions", "uuid_array"]

_PARAMETER = re.compile(rb"\$(\d+)")
_REJECTED = re.compile(r"realmate_attempt:(\w{5}):(\S*)")


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

    def __init__(self, connection: PoolProxiedConnection, *, begin: Sequence[bytes] = (b"BEGIN",)) -> None:
        raw: Any = connection.driver_connection
        self._connection = raw
        self._cursor = raw.cursor()
        self._begin = [*begin]
        if begin and raw.pooled:
            self._begin += [self._mogrify(f"SET LOCAL {name} = %s", [value]) for name, value in raw.settings.items()]
        self._texts: list[bytes] = []  # as psycopg2 makes them, and takes them

    def add(self, statement: Statement, *values: object) -> None:
        """Run it with the next fetch, or with the commit: whatever Postgres finds wrong with it is raised there."""
        self._texts.append(
            self._inlined(statement, values) if self._connection.pooled else self._named(statement, values)
        )

    def fetch(self, statement: Statement, *values: object) -> list[tuple[Any, ...]]:
        self.add(statement, *values)
        self._run(b"; ".join(self._taken()))
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    def try_out(self) -> None:
        """Run what was added, to see whether it can be run. Raises what `commit` would raise."""
        self._attempt()

    def commit(self) -> None:
        """Raise Overtaken where a row that was to be new is there already: then nothing was committed."""
        self._attempt(b"COMMIT")
        if self._cursor.statusmessage != "COMMIT":
            raise StatementFailed(None, f"the commit came to a {self._cursor.statusmessage}")

    def undo(self) -> None:
        """Roll back what was begun and not committed."""
        if not self._connection.closed and self._connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            self._run(b"ROLLBACK")

    def _attempt(self, *then: bytes) -> None:
        begin, self._begin = self._begin, []
        writes, self._texts = self._texts, []
        if writes and self._connection.logs_failures:
            writes = [self._mogrify("SELECT realmate_attempt(%s)", [b"; ".join(writes).decode()])]
        if texts := [*begin, *writes, *then]:
            self._run(b"; ".join(texts))
        for notice in self._connection.notices:
            if found := _REJECTED.search(notice):
                raise failure(found[1], constraint=found[2])

    def _taken(self) -> list[bytes]:
        """Return what must be sent now. It is not pending any more."""
        texts = self._begin + self._texts
        self._begin, self._texts = [], []
        return texts

    def _named(self, statement: Statement, values: Sequence[object]) -> bytes:
        """The call of a prepared statement, which is prepared if it was not."""
        if statement.name not in self._connection.prepared:
            self._run(f"PREPARE {statement.name}{_listed(statement.types)} AS {statement.text}".encode())
            self._connection.prepared.add(statement.name)
        return self._mogrify(f"EXECUTE {statement.name}{_listed(['%s'] * len(values))}", values)

    def _inlined(self, statement: Statement, values: Sequence[object]) -> bytes:
        """The statement itself. Behind a pooler the next one to run may be another session, which prepared nothing."""
        literals = [
            self._mogrify(f"CAST(%s AS {kind})", [value]) for kind, value in zip(statement.types, values, strict=True)
        ]
        return _PARAMETER.sub(lambda found: literals[int(found[1]) - 1], statement.text.encode())

    def _mogrify(self, text: str, values: Sequence[object]) -> bytes:
        mogrified: bytes = self._cursor.mogrify(text, values or None)
        return mogrified

    def _run(self, text: bytes) -> None:
        self._connection.notices.clear()
        try:
            self._cursor.execute(text)
        except psycopg2.Error as error:
            raise translated(error, is_closed=bool(self._connection.closed)) from None


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
            if not getattr(connection.driver_connection, "pooled", False):
                return Transaction(connection, begin=()).fetch(statement, *values)
            transaction = Transaction(connection)  # our settings hold within a transaction alone
            try:
                rows = transaction.fetch(statement, *values)
                transaction.commit()
                return rows
            finally:
                transaction.undo()

    def renew(self) -> None:
        """Give up every connection: the next ones are made anew, to wherever the address leads by then."""
        self._engine.dispose()

    @contextmanager
    def _lend(self) -> Iterator[PoolProxiedConnection]:
        pool = self._engine.pool
        connection = self._engine.raw_connection()
        try:
            yield connection
        except BaseException as error:
            # An interrupted query leaves its connection unusable, and so does one that cannot be rolled back.
            if _is_unusable(connection) or ends_connection(error):
                connection.invalidate()
            if ends_pool(error) and self._engine.pool is pool:  # the first one to notice does it for all
                self.renew()
            raise
        finally:
            with suppress(psycopg2.Error):
                connection.close()


def _is_unusable(connection: PoolProxiedConnection) -> bool:
    raw: Any = connection.driver_connection
    return bool(raw.closed) or raw.get_transaction_status() != TRANSACTION_STATUS_IDLE
