"""A PgBouncer of Debian's package for tests, before one database, in transaction mode."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn

from needed import require_program
from realmate.local.child import Child
from realmate.local.ports import free_port
from realmate.local.postgres import unprivileged

CONFIGURATION = """\
[databases]
{dbname} = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
server_round_robin = 1
ignore_startup_parameters = extra_float_digits{ignored}
unix_socket_dir =
"""


class PgBouncer(Child):
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, database_url: str, *, mode: str, ignores_options: bool) -> None:
        super().__init__("PgBouncer", directory / "pgbouncer.log")
        self._server = parse_dsn(database_url)
        self._file = directory / "pgbouncer.ini"
        self.port = free_port()
        ignored = ", options" if ignores_options else ""
        # In transaction mode few servers, so that a client meets another one again and again.
        size = 3 if mode == "transaction" else 40
        self._file.write_text(
            CONFIGURATION.format(**self._server, listen=self.port, mode=mode, size=size, ignored=ignored)
        )

    @property
    def url(self) -> str:
        return f"postgresql://{self._server['user']}@127.0.0.1:{self.port}/{self._server['dbname']}"

    def start(self) -> None:
        program = require_program("pgbouncer", package="pgbouncer")
        self._spawn([*unprivileged(self.death_signal), str(program), str(self._file)])
        self._wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with closing(psycopg2.connect(self.url, connect_timeout=2)):
                return True
        except psycopg2.OperationalError:
            return False
