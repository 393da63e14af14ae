"""The one way to connect to Postgres: services, `realmate migrate`, the admin commands and `realmate up` all use it.

DATABASE_URL is read here alone, by libpq's own parser, so a URL means the same to every process: several hosts,
`options=`, `sslmode=` and every other parameter that libpq knows.

Two things must not change what we do. The first is libpq's environment (PGHOST, PGOPTIONS, PGTZ, ...): it is removed
from the process before the first connection. The second is what a database administrator has set for a role or a
database (ALTER ROLE ... SET datestyle, for instance): each new connection sets what our statements rely on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Engine, create_engine

from realmate.runtime.postgres_hosts import Bounded, open_first, unbounded

CONNECT_TIMEOUT_S = 3

# fmt: off
LIBPQ_VARIABLES = frozenset({
    "PGAPPNAME", "PGCHANNELBINDING", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATABASE", "PGDATESTYLE", "PGGEQO",
    "PGGSSDELEGATION", "PGGSSENCMODE", "PGGSSLIB", "PGHOST", "PGHOSTADDR", "PGKRBSRVNAME", "PGLOADBALANCEHOSTS",
    "PGLOCALEDIR", "PGMAXPROTOCOLVERSION", "PGMINPROTOCOLVERSION", "PGOPTIONS", "PGPASSFILE", "PGPASSWORD",
    "PGPORT", "PGREALM", "PGREQUIREAUTH", "PGREQUIREPEER", "PGREQUIRESSL", "PGSERVICE", "PGSERVICEFILE",
    "PGSSLCERT", "PGSSLCERTMODE", "PGSSLCOMPRESSION", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLKEY", "PGSSLKEYLOGFILE",
    "PGSSLMAXPROTOCOLVERSION", "PGSSLMINPROTOCOLVERSION", "PGSSLMODE", "PGSSLNEGOTIATION", "PGSSLROOTCERT",
    "PGSSLSNI", "PGSYSCONFDIR", "PGTARGETSESSIONATTRS", "PGTZ", "PGUSER",
})
# fmt: on
"""Every environment variable that libpq reads (PostgreSQL's documentation, "Environment Variables")."""

_QUOTING = "standard_conforming_strings"

NETWORK: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    # A partition is noticed within seconds, not after the kernel's two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""The parameters that apply where a URL does not set them."""

SESSION: dict[str, str] = {
    # The forms in which psycopg2 and our SQL read and write values.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "timezone": "UTC",
    # What a transaction means.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "default_transaction_read_only": "off",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # A rejected write is told by a notice (see `transaction`).
    "client_min_messages": "notice",
}
"""The settings of every session, so that nobody else's setting changes what our statements do."""

QUIET: dict[str, str] = {
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "auto_explain.log_min_duration": "-1",
}
"""The settings that keep values of statements out of Postgres' log.

A session may set one only where its role has the right.
"""

_CONFIGURE = """
    SELECT pg_backend_pid(), current_setting('server_version_num')::int >= 150000,
        set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit')
            END, pg_backend_pid() <> %(pid)s),
        (SELECT count(set_config(name, value, pg_backend_pid() <> %(pid)s))
            FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value))
"""
"""On a connection of our own the settings last; behind a pooler they end with the statement, as others share it."""

_QUIET_SINCE_15 = """
    SELECT count(set_config(name, value, false)) FROM unnest(%(names)s::text[], %(values)s::text[]) AS s (name, value)
    WHERE has_parameter_privilege(name, 'SET')
"""

_LOGS_FAILURES = """
    SELECT current_setting('log_min_error_statement') NOT IN ('fatal', 'panic')
        OR current_setting('log_error_verbosity') <> 'terse'
"""


def _moment(text: Any, _cursor: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


_MOMENTS = extensions.new_type((1184,), "TIMESTAMPTZ", _moment)
"""`SESSION` makes Postgres write moments in ISO 8601, in UTC. (Reading them takes psycopg2 itself twice as long.)"""


class Connection(extensions.connection):
    """A connection that knows which statements it has prepared, and what is special about its server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        extensions.register_type(_MOMENTS, self)
        self.prepared: set[str] = set()
        self.pooled = False
        """The server process that answers is not the one that we connected to: PgBouncer, or its like, stands between.

        Consecutive transactions may then run in different sessions, so neither settings nor prepared statements last.
        """
        self.settings: dict[str, str] = {}
        self.logs_failures = True
        """Postgres logs the text of a statement that fails, with the values in it."""


def connect(
    url: str,
    application_name: str,
    *,
    session: Mapping[str, str] | None = None,
    bounded: Bounded = unbounded,
    **network: Any,
) -> Connection:
    """A connection with all our settings. Raises psycopg2.OperationalError where the server is not reachable."""
    forget_libpq_environment()
    defaults = {**NETWORK, "application_name": application_name, **network}
    parameters = {**defaults, **extensions.parse_dsn(url), "client_encoding": "UTF8"}
    connection = open_first(parameters, _open, bounded)
    try:
        _configure(connection, {**SESSION, **(session or {})})
    except BaseException:
        connection.close()
        raise
    return connection


def _open(parameters: dict[str, Any]) -> Connection:
    """psycopg2 looks once how strings are quoted. Set after connecting, a backslash would end one (an injection)."""
    connection: Connection = psycopg2.connect(connection_factory=Connection, **parameters)
    if connection.get_parameter_status(_QUOTING) == "on":
        return connection
    connection.close()
    options = f"{parameters.get('options', '')} -c {_QUOTING}=on"
    connection = psycopg2.connect(connection_factory=Connection, **{**parameters, "options": options})
    if connection.get_parameter_status(_QUOTING) == "on":
        return connection
    connection.close()
    raise psycopg2.OperationalError(f"{_QUOTING} is off, and cannot be set here: ALTER ROLE ... SET {_QUOTING} = on")


def open_engine(
    url: str,
    application_name: str,
    *,
    session: Mapping[str, str] | None = None,
    network: Mapping[str, Any] | None = None,
    **options: Any,
) -> Engine:
    """SQLAlchemy's engine on such connections; `options` are its own."""
    return create_engine(**engine_options(url, application_name, session=session, network=network), **options)


def engine_options(
    url: str,
    application_name: str,
    *,
    session: Mapping[str, str] | None = None,
    network: Mapping[str, Any] | None = None,
    bounded: Bounded = unbounded,
) -> dict[str, Any]:
    """The arguments of `create_engine`, without pool and isolation level."""

    def creator() -> Connection:
        return connect(url, application_name, session=session, bounded=bounded, **(network or {}))

    return {"url": "postgresql+psycopg2://", "creator": creator, "hide_parameters": True}


def forget_libpq_environment() -> list[str]:
    """Remove libpq's variables from this process: DATABASE_URL says everything, and says the same everywhere."""
    found = sorted(LIBPQ_VARIABLES & os.environ.keys())
    for name in found:
        del os.environ[name]
    return found


def wrong_encoding(encoding: str) -> str | None:
    """Return what is wrong with a database of this encoding and what to do, for a person; None where nothing is."""
    if encoding == "UTF8":
        return None
    return (
        f"the database's encoding is {encoding}, and Realmate needs UTF8:"
        " make one with `createdb --encoding=UTF8 --template=template0`"
    )


def without_libpq_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a server of Postgres, which would read some of them as settings."""
    return {name: value for name, value in environment.items() if name not in LIBPQ_VARIABLES}


def _configure(connection: Connection, settings: dict[str, str]) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        given = {"pid": connection.info.backend_pid, "names": list(settings), "values": list(settings.values())}
        cursor.execute(_CONFIGURE, given)
        backend_pid, has_parameter_privileges, *_ = cursor.fetchone() or ()
        connection.pooled = backend_pid != connection.info.backend_pid
        connection.settings = settings
        if has_parameter_privileges and not connection.pooled:
            cursor.execute(_QUIET_SINCE_15, {"names": list(QUIET), "values": list(QUIET.values())})
        cursor.execute(_LOGS_FAILURES)
        [connection.logs_failures] = cursor.fetchone() or (True,)
    connection.autocommit = False
