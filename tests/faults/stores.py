"""The drill's stores: each under a clock of its own, and Postgres and Valkey able to follow one another.

A switchover hands the work of a primary over to its replica, as an operator of databases does it. `switchovers` says in
which order; here is what each server can do.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from subprocess import Popen
from typing import Any

import redis

from clocks import Clock
from rabbitmq import RabbitMQ
from realmate.local.child import LocalError
from realmate.local.passwords import kept_password
from realmate.local.valkey import Valkey
from realmate.runtime.postgres import connect
from replication import ReplicatedPostgres

PATIENCE_S = 60.0


class TimedPostgres(ReplicatedPostgres):
    """A PostgreSQL under a clock of its own, which can be the primary or the standby of another one."""

    clock: Clock
    settings = ReplicatedPostgres.settings | {
        # A commit that was answered is on the standby, too, and can be read there: a promotion loses nothing, and who
        # still reads from the old address sees what the new one has.
        "synchronous_commit": "remote_apply",
        "wal_retrieve_retry_interval": "200ms",
    }

    def forget(self) -> None:
        """Remove the data of a server that is stopped: it can copy its primary's again."""
        shutil.rmtree(self.data_dir / "cluster", ignore_errors=True)

    def wait_for_standby(self, *, wanted: bool) -> None:
        """From now on wait for the standby with each commit, or for none any more; return when that is so."""
        self.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if wanted else ''}'")
        self.ask("SELECT pg_reload_conf()")
        if wanted:
            _wait_until(lambda: bool(self.ask("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")))

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(connect(self.url, "drill")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def _spawn(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> Popen[bytes]:
        return super()._spawn(command, env={**(env or os.environ), **self.clock.environment}, pass_fds=pass_fds)


class TimedValkey(Valkey):
    """A Valkey that can be made the replica of another one while it runs."""

    clock: Clock

    def share_password_of(self, other: TimedValkey) -> None:
        """Call before the first start. One address can then lead to either."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        kept_password(other.data_dir / "password")
        shutil.copy(other.data_dir / "password", self.data_dir / "password")

    def follow(self, primary: TimedValkey) -> None:
        """Become the replica of `primary`; connections that are open stay open."""
        with redis.Redis.from_url(primary.url) as client:
            client.config_set("repl-diskless-sync-delay", 0)  # it would wait 5 s for more replicas
        with redis.Redis.from_url(self.url) as client:
            client.config_set("masterauth", kept_password(primary.data_dir / "password"))
            client.replicaof("127.0.0.1", str(primary.port))

    def wait_in_step(self) -> None:
        """Return when this replica has everything of its primary."""
        with redis.Redis.from_url(self.url) as client:
            _wait_until(lambda: client.info("replication").get("master_link_status") == "up")

    def promote(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.replicaof("NO", "ONE")

    def _spawn(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> Popen[bytes]:
        return super()._spawn(command, env={**(env or os.environ), **self.clock.environment}, pass_fds=pass_fds)


class TimedRabbitMQ(RabbitMQ):
    """A RabbitMQ under a clock of its own."""

    clock: Clock

    def _environment(self) -> dict[str, str]:
        return super()._environment() | self.clock.environment


def _wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up_at:
            raise LocalError(f"a replica was not in step within {PATIENCE_S:g} s")
        time.sleep(0.05)
