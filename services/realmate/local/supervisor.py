"""`realmate up`: everything on one machine, from nothing, on one port.

It starts the stores that no URL is given for, migrates, starts the services, and watches them all: what dies is started
again. One thread that looks at its children a few times a second; it knows nothing of what they do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from realmate.local.child import Child, LocalError, signal_on_parent_death
from realmate.local.given_stores import check_database, check_redis, check_transport
from realmate.local.greeting import greeting
from realmate.local.passwords import kept_password
from realmate.local.ports import check_free, free_port
from realmate.local.postgres import Postgres
from realmate.local.restarts import Restarter
from realmate.local.service import Migration, Service, url_of
from realmate.local.valkey import Valkey
from realmate.runtime.settings import Settings
from realmate.sources.configuration import ConfigurationError
from realmate.sources.endpoint_file import EndpointFile
from realmate.sources.file import SourceFile
from realmate.sources.tokens import TokensFile

LOOK_INTERVAL_S = 0.2
PROGRESS_INTERVAL_S = 2.0
# A stop takes less than 10 s: the services first, which finish what they have in hand, then the stores.
SERVICES_DRAIN_S = 5.0
SERVICES_STOP_S = 7.0
STOP_S = 9.5


def run(settings: Settings, *, exit_with_parent: bool) -> int:
    """Start everything, watch over it until SIGINT or SIGTERM, stop it; return the exit code. Raises LocalError."""
    if exit_with_parent:
        signal_on_parent_death(signal.SIGTERM)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)  # a shell's `&` may have left it ignored
    installation = Installation(settings)
    try:
        installation.start()
        installation.watch()
    except KeyboardInterrupt:
        click.echo("\nStopping (Ctrl-C again: at once) ...")
    finally:
        in_order = installation.stop()
    return 0 if in_order else 128 + signal.SIGINT


def interrupt(*_: object) -> None:
    """Handle SIGINT and SIGTERM alike; only a SIGINT can do so twice.

    A second SIGTERM is the echo of the first: `make` forwards the one that the whole process group got already.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class Installation:
    """The stores and services of one data directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._port = settings.port or free_port(settings.host)
        self._data_dir = settings.realmate_data_dir.resolve()
        self._stores: list[Child] = []
        self._services: list[Service] = []

    def start(self) -> None:
        """Return when everything is ready. Raises LocalError; call `stop` then, too."""
        started_at = time.monotonic()
        check_free(self._settings.host, self._port)
        _check_files(self._settings)
        self._lock = locked(self._data_dir)
        if self._settings.transport_url is not None:
            check_transport(self._settings.transport_url)
        environment = self._environment(self._database_urls(), self._redis_url())
        with progress("Migrating the database"):
            Migration(environment, self._log("migrate")).start()
        self._start_services(environment)
        children = [*self._services, *self._stores]
        took_s = time.monotonic() - started_at
        click.echo(greeting(self._services[-1].url, children, self._data_dir, took_s=took_s))

    def watch(self) -> None:
        """Start again what dies. Returns never: a signal ends it."""
        watches = [Restarter(child) for child in (*self._stores, *self._services)]
        while True:
            time.sleep(LOOK_INTERVAL_S)
            for watch in watches:
                watch.look()

    def stop(self) -> bool:
        """Stop everything in order and return True; or kill it all at the next KeyboardInterrupt, and return False."""
        asked_at = time.monotonic()
        try:
            stop_together(self._services, give_up_at=asked_at + SERVICES_STOP_S)
            stop_together(self._stores, give_up_at=asked_at + STOP_S)
        except KeyboardInterrupt:
            for child in (*self._services, *self._stores):
                child.kill()
            return False
        return True

    def _database_urls(self) -> dict[str, str]:
        """Return the URL of the owner, who migrates, and those of the services' roles, where there are such roles."""
        if self._settings.database_url is not None:
            check_database(self._settings.database_url)
            return {"DATABASE_URL": self._settings.database_url}  # the others are in our environment, if they are set
        postgres = Postgres(self._data_dir / "postgres")
        self._start_store(postgres)
        return {"DATABASE_URL": postgres.url} | {
            f"DATABASE_{role.upper()}_URL": postgres.role_url(role) for role in ("writer", "reader")
        }

    def _redis_url(self) -> str:
        if self._settings.redis_url is not None:
            check_redis(self._settings.redis_url)
            return self._settings.redis_url
        valkey = Valkey(self._data_dir / "valkey")
        self._start_store(valkey)
        return valkey.url

    def _start_store(self, store: Child) -> None:
        self._stores.append(store)
        with progress(f"Starting {store.name}"):
            store.start()

    def _start_services(self, environment: dict[str, str]) -> None:
        internal = {"HOST": "127.0.0.1", "PORT": str(free_port())}  # conversations serves nothing but its health
        public = {"HOST": self._settings.host, "PORT": str(self._port)}
        if "ADMIN_PORT" in environment:  # the metrics of all processes; two cannot listen on it
            public["ADMIN_PORT"] = environment.pop("ADMIN_PORT")
        owner = environment.pop("DATABASE_URL")
        internal["DATABASE_URL"] = environment.pop("DATABASE_WRITER_URL", "") or owner
        public["DATABASE_URL"] = environment.pop("DATABASE_READER_URL", "") or owner
        public["DATABASE_WRITER_URL"] = internal["DATABASE_URL"]  # for the console, in the same process
        public["WEBHOOK_URL"] = url_of(self._settings.host, self._port)
        self._services = [
            Service(["conversations"], environment | internal, self._log("conversations")),
            *self._deliveries(environment | internal),
            Service(["webhook", "query", "console"], environment | public, self._log("webhook-query-console")),
        ]
        for service in self._services:
            service.start()
        for service in self._services:
            with progress(f"Starting {service.name}"):
                service.wait_ready()

    def _deliveries(self, environment: dict[str, str]) -> list[Service]:
        """Return the service of outbound webhooks, where a file can name endpoints, now or later."""
        if self._settings.sources_file is None:
            return []
        return [Service(["deliveries"], environment | {"PORT": str(free_port())}, self._log("deliveries"))]

    def _environment(self, database_urls: dict[str, str], redis_url: str) -> dict[str, str]:
        """Return the environment of the services: ours, with what is different for them."""
        metrics = self._data_dir / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)  # of processes that are gone
        metrics.mkdir()
        return {
            **os.environ,
            **database_urls,
            **self._transport_keys(),
            "REDIS_URL": redis_url,
            "DRAIN_DELAY_S": "0",  # nobody chooses between replicas here
            "DRAIN_TIMEOUT_S": str(min(self._settings.drain_timeout_s, SERVICES_DRAIN_S)),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),  # so that /metrics on the one port tells of all processes
        }

    def _transport_keys(self) -> dict[str, str]:
        """A key of our own where the broker is our own. Who names a broker may have other processes on it."""
        settings = self._settings
        if settings.transport_keys_file or settings.transport_url or settings.redis_url:
            return {}
        path = self._data_dir / "transport.keys"
        kept_password(path)
        return {"TRANSPORT_KEYS_FILE": str(path.resolve())}

    def _log(self, name: str) -> Path:
        logs = self._data_dir / "logs"
        logs.mkdir(exist_ok=True)
        return logs / f"{name}.log"


def locked(directory: Path) -> int:
    """A lock on the data directory, made if need be; the kernel frees it when this process ends. Raises LocalError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LocalError(
            f"cannot write to {directory} ({error.strerror}); choose another with REALMATE_DATA_DIR=…"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalError(
            f"another `realmate up` uses {directory}; stop it, or choose another with REALMATE_DATA_DIR=…"
        ) from None
    return lock


def stop_together(children: Sequence[Child], *, give_up_at: float) -> None:
    """Ask all to stop at the same time; kill those that still run at `give_up_at` (time.monotonic())."""
    for child in children:
        child.terminate()
    for child in children:
        child.wait(max(0.0, give_up_at - time.monotonic()))


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say every few seconds that `what` is still under way; nothing when it is quick.

    By a timer's signal, not by a thread: there is to be none when children are made.
    """
    started_at = time.monotonic()

    def tell(*_: object) -> None:
        click.echo(f"{what} ... {time.monotonic() - started_at:.0f} s")

    signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, PROGRESS_INTERVAL_S, PROGRESS_INTERVAL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _check_files(settings: Settings) -> None:
    """Raises LocalError where no service would start with these files."""
    variable = "SOURCES_FILE"
    try:
        if settings.sources_file is not None:
            SourceFile(settings.sources_file, os.environ)
            EndpointFile(settings.sources_file, os.environ)
        variable = "TOKENS_FILE"
        if settings.tokens_file is not None:
            TokensFile(settings.tokens_file)
    except ConfigurationError as error:
        raise LocalError(f"{variable}: {error}") from None
