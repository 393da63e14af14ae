"""The database roles of the services, and what each may do. `realmate migrate` applies this at every run.

The owner is whoever migrates: the tables belong to it, and no service needs its password. The writer is the role of
conversations, deliveries and console, of `realmate replay` and `realmate erase`. The reader is the role of query.
Neither may make or change a table, read or write a file of the server, or become another role.

The roles are made only where the owner may make roles. Where it may not, somebody else makes them
(docs/privileges.md has the lines to copy), and the rights are granted here all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import encrypt_password, parse_dsn
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from realmate.errors import UserError
from realmate.runtime.postgres import QUIET

READ = "SELECT"
ADD = "SELECT, INSERT"
CHANGE = "SELECT, INSERT, UPDATE, DELETE"
NOTHING = ""


class Rights(NamedTuple):
    """The rights of each role on a table."""

    writer: str
    reader: str = NOTHING


# Every table of ours is in here; a test compares this with the migrations. A version may add rights, and may take a
# right away only when the version before it does not use it either: both run while pods are replaced.
RIGHTS = {
    "alembic_version": Rights(READ, READ),
    "conversations": Rights(CHANGE, READ),
    "messages": Rights(CHANGE, READ),
    "changes": Rights(CHANGE, READ),
    "feed": Rights(CHANGE, READ),
    "sources": Rights(ADD, READ),
    "applied_batches": Rights(CHANGE),
    "idempotency_keys": Rights(CHANGE),
    "rejections": Rights(CHANGE),
    "erasures": Rights(CHANGE),
    "reply_calls": Rights(CHANGE),
    "audit": Rights(ADD),
    "jobs": Rights(CHANGE),
    "source_hours": Rights(CHANGE),
    "counted_changes": Rights(CHANGE),
    "endpoints": Rights(CHANGE),
    "endpoint_cursors": Rights(CHANGE),
    "delivery_lanes": Rights(CHANGE),
    "deliveries": Rights(CHANGE),
    "delivery_attempts": Rights(CHANGE),
}

# Postgres lets everybody store large objects. Only a superuser can take that away.
_LARGE_OBJECTS = (
    "lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea), lo_put(oid, bigint, bytea), lowrite(integer, bytea)"
)


class RolesError(UserError):
    """The roles cannot be as the settings name them; the message says which setting and why, for a person."""


class Login(NamedTuple):
    """The login of a service. Without a password the role has one already, or needs none."""

    setting: str
    name: str
    password: str | None


@dataclass(frozen=True, slots=True)
class Logins:
    """The services' logins. None: that service uses the owner's."""

    writer: Login | None = None
    reader: Login | None = None

    def of_others(self, connection: Connection) -> list[Login]:
        """Return the logins that are not the migrating one: the owner's rights stay as they are."""
        me = _scalar(connection, "SELECT current_user")
        return [login for login in (self.writer, self.reader) if login is not None and login.name != me]


def logins(writer_url: str | None, reader_url: str | None) -> Logins:
    """The roles that DATABASE_WRITER_URL and DATABASE_READER_URL name. Raises RolesError."""
    found = Logins(_login("DATABASE_WRITER_URL", writer_url), _login("DATABASE_READER_URL", reader_url))
    if found.writer is not None and found.reader is not None and found.writer.name == found.reader.name:
        raise RolesError(f"DATABASE_READER_URL names the writer's role {found.writer.name}; the reader needs its own")
    return found


def _login(setting: str, url: str | None) -> Login | None:
    if url is None:
        return None
    try:
        parsed = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise RolesError(f"{setting} is no URL of Postgres: {str(error).strip()}") from None
    if not parsed.get("user"):
        raise RolesError(f"{setting} names no user; it must be postgresql://user:password@host/database")
    return Login(setting, parsed["user"], parsed.get("password"))


def make(connection: Connection, wanted: Logins) -> list[str]:
    """Make the roles that are missing and set the passwords, where this role may; return a line for what it may not.

    Raises RolesError where a URL names a role that can do more than any service may.
    """
    rejected: list[str] = []
    may_make_roles = _scalar(connection, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    is_superuser = _scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    for login in wanted.of_others(connection):
        exists = _exists(connection, login)
        who = f"The role {login.name} ({login.setting})"
        if may_make_roles:
            quiet = _quiet(connection, login) if is_superuser else ()
            done = _may(connection, [_definition(connection, login, exists=exists), *quiet])
            rejected += [] if done else [f"{who} is somebody else's: its password was left as it is."]
        elif not exists:
            rejected.append(f"{who} is missing and DATABASE_URL's may not make it: docs/privileges.md has the lines.")
    return rejected


def grant(connection: Connection, wanted: Logins) -> list[str]:
    """Give each role exactly its rights on the tables that are there; return a line for each that cannot get them."""
    others = [login for login in wanted.of_others(connection) if _exists(connection, login)]
    if others:
        _close_to_everybody(connection)
    present = _present(connection)
    return [
        f"The role {login.name} ({login.setting}) got no rights: the tables belong to another role than DATABASE_URL's."
        for login in others
        if not _may(connection, _grants(connection, login, present, reads_only=login is wanted.reader))
    ]


def _may(connection: Connection, statements: Iterable[sql.Composable]) -> bool:
    """Run all of them, or none where this role has no right to one; whether it had."""
    try:
        with connection.begin_nested():
            for statement in statements:
                _run(connection, statement)
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            return False
        raise
    return True


def _definition(connection: Connection, login: Login, *, exists: bool) -> sql.Composable:
    """CREATE or ALTER ROLE. The password goes out as what the server would store: no log ever has it."""
    statement = sql.SQL("{verb} ROLE {name} LOGIN").format(
        verb=sql.SQL("ALTER" if exists else "CREATE"), name=sql.Identifier(login.name)
    )
    if login.password is None:
        return statement
    stored = encrypt_password(login.password, login.name, _raw(connection))
    return sql.SQL("{} PASSWORD {}").format(statement, sql.Literal(stored))


def _quiet(connection: Connection, login: Login) -> Iterator[sql.Composable]:
    """Keep values out of the server's log. The role itself has no right to say so, as a superuser's session has."""
    database = sql.Identifier(_scalar(connection, "SELECT current_database()"))
    for name, value in QUIET.items():
        yield sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
            sql.Identifier(login.name), database, sql.SQL(name), sql.Literal(value)
        )


def _grants(connection: Connection, login: Login, tables: list[str], *, reads_only: bool) -> Iterator[sql.Composable]:
    """Grant all rights in one transaction, so that nobody sees a moment without them."""
    role = sql.Identifier(login.name)
    schema = sql.Identifier(connection.execute(text("SELECT current_schema()")).scalar_one())
    yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role)
    if not _scalar(connection, "SELECT has_database_privilege(:name, current_database(), 'CONNECT')", name=login.name):
        database = sql.Identifier(connection.execute(text("SELECT current_database()")).scalar_one())
        yield sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role)
    for table in tables:
        rights = RIGHTS[table].reader if reads_only else RIGHTS[table].writer
        yield sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(table), role)
        if rights:
            yield sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), sql.Identifier(table), role)


def _close_to_everybody(connection: Connection) -> None:
    """Take away what Postgres lets every role make, as far as this one owns it: tables and large objects."""
    database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
    owned = "SELECT pg_has_role({owner}, 'USAGE') FROM {catalog} WHERE {name} = :name"
    if _scalar(connection, owned.format(owner="nspowner", catalog="pg_namespace", name="nspname"), name=schema):
        _run(connection, sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC").format(sql.Identifier(schema)))
    if _scalar(connection, owned.format(owner="datdba", catalog="pg_database", name="datname"), name=database):
        _run(connection, sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
    if _scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        _run(connection, sql.SQL(f"REVOKE EXECUTE ON FUNCTION {_LARGE_OBJECTS} FROM PUBLIC"))


def _exists(connection: Connection, login: Login) -> bool:
    """Raises RolesError where the role is there and is mighty: a slip of the pen must not change it."""
    mighty = _scalar(
        connection,
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
        " OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = :name",
        name=login.name,
    )
    if mighty:
        raise RolesError(
            f"{login.setting} names the role {login.name}, which may do more than a service needs"
            " (an attribute as SUPERUSER or CREATEROLE, or a membership); name a role of its own"
        )
    return mighty is not None


def _present(connection: Connection) -> list[str]:
    names = connection.execute(
        text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL"),
        {"names": [*RIGHTS]},
    )
    return [*names.scalars()]


def _scalar(connection: Connection, statement: str, **values: object) -> Any:
    return connection.execute(text(statement), values).scalar()


def _run(connection: Connection, statement: sql.Composable) -> None:
    connection.exec_driver_sql(statement.as_string(_raw(connection)), execution_options={"no_parameters": True})


def _raw(connection: Connection) -> Any:
    return connection.connection.driver_connection
