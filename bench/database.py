"""The benchmark's own look at Realmate's Postgres: how durable it is, the same start for every measurement, and tables
that are full from the start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from installation import BenchError

ANSWER_TIMEOUT_S = 120.0
WAL_FILES = 56
"""Of 16 MB: a little less than `min_wal_size`, which is how many Postgres keeps."""
POLL_INTERVAL_S = 0.2
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


class Database:
    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url, application_name="bench")
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def version(self) -> str:
        return str(self.one("SHOW server_version"))

    def durability(self) -> dict[str, str]:
        """The settings without which a commit is no promise. Raises BenchError where one is not on."""
        values = {name: str(self.one(f"SHOW {name}")) for name in DURABILITY}
        if set(values.values()) != {"on"}:
            raise BenchError(f"this Postgres does not keep what it commits: {values}")
        return values

    def grow_old(self) -> None:
        """Have as many WAL files to use again as a server that has run for an hour.

        Making one, 16 MB of zeros that are flushed, stops every commit for tens of milliseconds; a new server makes
        one every few seconds, an old one none.
        """
        for _ in range(WAL_FILES):
            self.do("SELECT pg_logical_emit_message(false, 'bench', 'so that there is something to switch from')")
            self.do("SELECT pg_switch_wal()")
        self.do("CHECKPOINT")

    def settle(self) -> None:
        """Wait until every group is answered, and write a checkpoint.

        So no measurement pays for the one before it: with its replies or its dirty pages.
        """
        give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
        while self.one("SELECT count(*) FROM conversations WHERE due_at < now() + interval '1 hour'"):
            if time.monotonic() > give_up_at:
                raise BenchError(f"Realmate left groups unanswered for {ANSWER_TIMEOUT_S:g} s")
            time.sleep(POLL_INTERVAL_S)
        self.do("CHECKPOINT")

    def begin_anew(self) -> None:
        """The same with empty tables: without the dead rows of the measurement before."""
        self.settle()
        self.do("TRUNCATE conversations, messages, applied_batches, rejections")
        self.do("CHECKPOINT")

    def all(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def one(self, query: str, parameters: Mapping[str, object] | None = None) -> Any:
        """The first column of the first row."""
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters)
            (value, *_) = cursor.fetchone() or (None,)
            return value

    def do(self, statement: str, parameters: Mapping[str, object] | None = None) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
