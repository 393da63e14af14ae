"""The benchmark's own look at Realmate's Postgres: how durable it is, and the same start for every measurement."""

from __future__ import annotations

import time

import psycopg2

from installation import BenchError

ANSWER_TIMEOUT_S = 120.0
POLL_INTERVAL_S = 0.2
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


class Database:
    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url, application_name="bench")
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def version(self) -> str:
        return self._one("SHOW server_version")

    def durability(self) -> dict[str, str]:
        """The settings without which a commit is no promise. Raises BenchError where one is not on."""
        values = {name: self._one(f"SHOW {name}") for name in DURABILITY}
        if set(values.values()) != {"on"}:
            raise BenchError(f"this Postgres does not keep what it commits: {values}")
        return values

    def begin_anew(self) -> None:
        """Wait until every group is answered, then empty the tables and write a checkpoint.

        So no measurement pays for the one before it: with its replies, its dead rows or its dirty pages.
        """
        give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
        while self._one("SELECT count(*) FROM conversations WHERE due_at < now() + interval '1 hour'") != "0":
            if time.monotonic() > give_up_at:
                raise BenchError(f"Realmate left groups unanswered for {ANSWER_TIMEOUT_S:g} s")
            time.sleep(POLL_INTERVAL_S)
        self._do("TRUNCATE conversations, messages, applied_batches")
        self._do("CHECKPOINT")

    def _one(self, query: str) -> str:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            (value,) = cursor.fetchone() or (None,)
            return str(value)

    def _do(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
