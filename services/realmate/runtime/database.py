"""The way to Postgres: nameko-sqlalchemy's dependency provider, configured from the settings, and patience with it.

psycopg2 is cooperative under eventlet's monkey-patching, so a waiting query lets other greenlets run. Two things keep a
sick database from hanging a worker for ever: the server's timeouts below, and `within`, which bounds the wait here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import eventlet
import nameko_sqlalchemy
import psycopg2
import structlog
from nameko_sqlalchemy import DB_URIS_KEY
from prometheus_client import Counter
from sqlalchemy import MetaData

from realmate.runtime.backoff import Backoff
from realmate.runtime.config import settings_of
from realmate.runtime.database_errors import DatabaseTimeout, is_conflict, is_outage
from realmate.runtime.database_readiness import SCHEMA_REVISION, look
from realmate.runtime.health import health
from realmate.runtime.postgres import engine_options, forget_libpq_environment
from realmate.runtime.transaction import Transactions

__all__ = ["SCHEMA_REVISION", "Database", "DatabaseTimeout", "is_conflict", "is_outage", "patiently", "within"]

log = structlog.get_logger(__name__)

RETRIES = Counter("realmate_transaction_retries", "Transactions tried again", ["reason"])

_BACKOFF = Backoff(0.02, 0.5)

BESIDE_BATCHES = 8
"""Connections for what is not a batch: six timers, and two sources that are swept apart."""
WRITER_NAME = "realmate-conversations"
"""The name of a writer's sessions. A slash and its revision of the schema follow, for others to see how old it is."""
WRITER_SESSION = f"{WRITER_NAME}/{SCHEMA_REVISION}"


class Schema:
    """Stands where nameko-sqlalchemy expects a declarative base: it is asked for its name alone. We use Core."""

    metadata = MetaData()


class Engine(nameko_sqlalchemy.Database):
    """The common part of the providers: an engine of the service's own, which no worker closes."""

    def open(self, url: str, name: str, *, session: Mapping[str, str], **options: Any) -> None:
        """Open it, for sessions of this name. `options` are SQLAlchemy's."""
        settings = settings_of(self.container)
        engine = engine_options(
            url,
            name,
            session=session,
            network={"tcp_user_timeout": int(settings.command_timeout_s * 1000)},
            bounded=_bounded,
        )
        key = f"{self.container.service_name}:{self.declarative_base.__name__}"
        self.container.config.setdefault(DB_URIS_KEY, {})[key] = engine.pop("url")
        self.engine_options = {
            **engine,
            "max_overflow": 0,
            "pool_timeout": settings.command_timeout_s,
            "pool_recycle": settings.database_max_age_s,
            **options,
        }
        super().setup()

    def stop(self) -> None:
        if hasattr(self, "engine"):  # Nameko kills a dying service's extensions even after it has stopped them
            super().stop()

    kill = stop

    def worker_teardown(self, worker_ctx: Any) -> None:
        """Nothing to do: a transaction, or a session, ends with its block and not with the worker."""


class Database(Engine):
    """Injects the way to transactions: `with db.begin() as transaction: …`."""

    def __init__(self, *, read_only: bool = False, writes_changes: bool = True, part: str = "database") -> None:
        """`part` is its name in the readiness of a process, where several services may have a database each.

        `writes_changes` says whether this service changes conversations: an older one would make holes in the feed.
        """
        self.read_only = read_only
        self._writes_changes = writes_changes and not read_only
        self._part = part
        self._was_primary = False
        super().__init__(Schema)

    def setup(self) -> None:
        settings = settings_of(self.container)
        name = self.container.service_name
        if ignored := forget_libpq_environment():
            log.warning("libpq's variables are ignored: DATABASE_URL says everything", ignored=ignored)
        self.open(
            settings.database if self.read_only else settings.writer_database,
            WRITER_SESSION if self._writes_changes else f"realmate-{name}",
            session=_session(settings.command_timeout_s, read_only=self.read_only),
            pool_size=BESIDE_BATCHES + max(settings.http_batches_in_flight, settings.consumer_batches_in_all),
            isolation_level="AUTOCOMMIT",  # `Transactions` says BEGIN, COMMIT and ROLLBACK itself
            pool_reset_on_return=None,
        )
        self._transactions = Transactions(self.engine)
        health.register(self._part, self.ping)

    def get_dependency(self, worker_ctx: Any) -> Transactions:  # noqa: ARG002 (Nameko's signature)
        return self._transactions

    def ping(self) -> None:
        """Raise unless this service's work can be done in the database as it is, and in its schema.

        A reader may be given a standby on purpose. But one that was connected to a primary, and now is not, has been
        left behind by a switchover: it connects anew until its address leads to a primary again.
        """
        is_standby = look(self._transactions, read_only=self.read_only)
        if is_standby and self._was_primary:
            self._transactions.renew()
        self._was_primary = self._was_primary or not is_standby


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Bound the time to connect: libpq's own `connect_timeout` does not work where another greenlet runs meanwhile."""
    timer = eventlet.Timeout(seconds)
    try:
        yield
    except eventlet.Timeout as fired:
        if fired is not timer:
            raise
        raise psycopg2.OperationalError("no answer to a connection in time") from None
    finally:
        timer.cancel()


def _session(timeout_s: float, *, read_only: bool) -> dict[str, str]:
    timeout_ms = str(int(timeout_s * 1000))
    return {
        "statement_timeout": timeout_ms,
        # A process stopped in the middle of a transaction must not keep its locks.
        "idle_in_transaction_session_timeout": timeout_ms,
        "default_transaction_read_only": "on" if read_only else "off",
        # The statements are short and many; compiling them costs more than it gives.
        "jit": "off",
        # Each of our statements finds its rows by an index, however small a table is, or old its statistics are.
        # (An UPDATE of one conversation read all 17,000 of a fresh database: 1.7 ms instead of 0.2.)
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        # Prepared once, planned once: their plans depend on no value.
        "plan_cache_mode": "force_generic_plan",
    }


@contextmanager
def within(deadline: float) -> Iterator[None]:
    """Bound what stands inside by a `time.monotonic()` deadline. Raise DatabaseTimeout.

    An interrupted query leaves its connection unusable; psycopg2 closes it and the pool opens a new one.
    """
    timer = eventlet.Timeout(max(deadline - time.monotonic(), 0.001))
    try:
        yield
    except eventlet.Timeout as fired:
        if fired is not timer:
            raise
        raise DatabaseTimeout("no answer from the database in time") from None
    finally:
        timer.cancel()


T = TypeVar("T")


def patiently(work: Callable[[int], T], deadline: float) -> T:
    """Call `work(attempt)`, again after a conflict or an outage, until the deadline; then raise what it raised last.

    A failed commit may have happened all the same, so from attempt 1 on `work` must look before it acts.
    """
    attempt = 0
    pauses = 0
    while True:
        pause_s = _BACKOFF.pause_s(pauses + 1)
        try:
            with within(deadline):
                return work(attempt)
        except Exception as error:
            if not (is_conflict(error) or is_outage(error)) or time.monotonic() + pause_s >= deadline:
                raise
            conflict = is_conflict(error)
        RETRIES.labels("conflict" if conflict else "outage").inc()
        attempt += 1
        if attempt > 1 or not conflict:  # who was overtaken once need not wait to look again
            pauses += 1
            eventlet.sleep(pause_s)
