"""What the services' database roles may do: what the services need, and nothing that a thief of one could want."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.errors import InsufficientPrivilege

from realmate.cli import main
from realmate.local.postgres import Postgres
from realmate.migrations.roles import RIGHTS, Logins, RolesError, logins
from realmate.migrations.runner import upgrade

DOCS = Path(__file__).parents[2] / "docs" / "privileges.md"

FORBIDDEN_TO_ALL = (
    "TRUNCATE messages",
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE mine",
    "ALTER TABLE messages ADD COLUMN mine integer",
    "DROP TABLE messages",
    "CREATE INDEX ON messages (content)",
    "CREATE TRIGGER mine BEFORE INSERT ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE messages DISABLE TRIGGER ALL",
    "ALTER ROLE realmate PASSWORD 'mine'",
    "UPDATE alembic_version SET version_num = '9999'",
    "DELETE FROM alembic_version",
    "COPY messages TO PROGRAM 'cat'",
    "COPY messages FROM PROGRAM 'true'",
    "COPY messages TO '/tmp/messages'",
    "COPY messages FROM '/etc/passwd'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/mine')",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "ALTER SYSTEM SET fsync = off",
    "SET session_replication_role = replica",
    "SET ROLE realmate",
    "SET SESSION AUTHORIZATION realmate",
)
WRITES = (
    "INSERT INTO sources (name) VALUES ('mine')",
    "INSERT INTO messages SELECT * FROM messages",
    "UPDATE conversations SET status = 2",
    "DELETE FROM conversations",
    "DELETE FROM messages",
    "DO $$ BEGIN LOCK TABLE messages IN EXCLUSIVE MODE; END $$",
    "SELECT id FROM conversations FOR UPDATE",
)
NOT_FOR_THE_READER = tuple(f"TABLE {name}" for name, rights in RIGHTS.items() if not rights.reader)
MAY = {
    "writer": ("SELECT * FROM rejections", "DELETE FROM idempotency_keys", "INSERT INTO sources (name) VALUES ('new')"),
    "reader": ("SELECT * FROM messages", "SELECT * FROM conversations JOIN sources ON true"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Its database is migrated, with both roles."""
    with Postgres(tmp_path_factory.mktemp("roles")) as postgres:
        assert migrated(postgres) == ()
        yield postgres


def wanted(server: Postgres) -> Logins:
    return logins(server.role_url("writer"), server.role_url("reader"))


def migrated(server: Postgres) -> tuple[str, ...]:
    """Migrate with both roles; return what was rejected."""
    return upgrade(server.url, wanted(server)).rejected


def run(url: str, *statements: str) -> list[Any]:
    """The rows of the last one."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_its_service_s_work(server: Postgres, role: str) -> None:
    for statement in MAY[role]:
        run(server.role_url(role), statement)


@pytest.mark.parametrize("statement", FORBIDDEN_TO_ALL)
@pytest.mark.parametrize("role", MAY)
def test_no_role_may_make_tables_touch_files_or_become_another(server: Postgres, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        run(server.role_url(role), "SET default_transaction_read_only = off", statement)


@pytest.mark.parametrize("statement", [*WRITES, *NOT_FOR_THE_READER])
def test_the_reader_writes_nothing_even_when_it_tries(server: Postgres, statement: str) -> None:
    """And it reads neither what was rejected nor the idempotency keys."""
    with pytest.raises(InsufficientPrivilege):
        run(server.role_url("reader"), "SET default_transaction_read_only = off", statement)


def test_every_table_is_in_the_list_of_rights(server: Postgres) -> None:
    assert {name for (name,) in run(server.url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")} == set(
        RIGHTS
    )


def test_each_role_has_exactly_the_rights_of_the_list(server: Postgres) -> None:
    query = "SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = '{}'"
    for role in MAY:
        name = f"realmate_{role}"
        wanted = {
            (name, table, right)
            for table, rights in RIGHTS.items()
            for right in filter(None, getattr(rights, role).split(", "))
        }
        assert {*run(server.url, query.format(name))} == wanted


def test_a_second_run_takes_back_what_a_hand_has_given(server: Postgres) -> None:
    run(server.url, "GRANT TRUNCATE, INSERT ON messages TO realmate_reader", "ALTER ROLE realmate_reader PASSWORD 'x'")
    assert migrated(server) == ()
    with pytest.raises(InsufficientPrivilege):
        run(server.role_url("reader"), "TRUNCATE messages")


def test_passwords_are_in_no_log(server: Postgres) -> None:
    run(server.url, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
    try:
        migrated(server)
    finally:
        run(server.url, "ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()")
    log = server.log.read_text()
    stored = run(server.url, "SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'realmate_%'")
    assert all(password.startswith("SCRAM-SHA-256$") for (password,) in stored)
    for login in (wanted(server).writer, wanted(server).reader):
        assert login is not None
        assert login.password
        assert login.password not in log


def test_what_a_role_says_is_in_no_log_though_it_may_not_say_so_itself(server: Postgres) -> None:
    run(server.url, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
    try:
        for role in MAY:
            assert run(server.role_url(role), "SHOW log_statement") == [("none",)]
            with pytest.raises(InsufficientPrivilege):
                run(server.role_url(role), "SET log_statement = 'all'")
    finally:
        run(server.url, "ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()")


def test_a_url_that_names_a_mighty_role_changes_nothing(server: Postgres) -> None:
    run(
        server.url, "CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'boss'", "CREATE ROLE clerk LOGIN", "GRANT boss TO clerk"
    )
    for name in ("boss", "clerk"):
        url = server.url.replace("realmate:", f"{name}:").replace("postgresql", "postgres")
        with pytest.raises(RolesError, match=f"DATABASE_READER_URL names the role {name}, which may do more"):
            upgrade(server.url, logins(None, url))


def test_the_owner_keeps_its_rights_where_a_service_is_given_its_url(server: Postgres) -> None:
    assert upgrade(server.url, logins(server.url, None)).rejected == ()
    run(server.url, "TRUNCATE rejections")


def test_two_roles_of_one_name_are_rejected(server: Postgres) -> None:
    url = server.role_url("writer")
    with pytest.raises(RolesError, match="the reader needs its own"):
        logins(url, url)


class TestAnOwnerThatIsNoSuperuser:
    """Somebody else's Postgres: the owner of one database, that may make roles or not."""

    @pytest.fixture
    def owner_url(self, server: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
        name = "landlord" if request.param else "tenant"
        rights = "CREATEROLE" if request.param else "NOCREATEROLE"
        run(server.url, f"CREATE ROLE {name} LOGIN {rights} PASSWORD 'owner'", f"CREATE DATABASE {name} OWNER {name}")
        yield f"postgresql://{name}:owner@127.0.0.1:{server.port}/{name}"
        run(server.url, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {name}_reader", f"DROP ROLE {name}")

    @pytest.mark.parametrize("owner_url", [False], indirect=True)
    def test_grants_to_the_roles_that_the_lines_of_the_docs_have_made(self, server: Postgres, owner_url: str) -> None:
        [lines] = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
        admin = server.url_of("tenant")
        run(admin, lines.replace("DATABASE realmate", "DATABASE tenant"))
        try:
            urls = [owner_url.replace("//tenant:owner", f"//{role}:{role}-password") for role in ("writer", "reader")]
            assert upgrade(owner_url, logins(*urls)).rejected == ()
            run(urls[0], "DELETE FROM conversations")
            run(urls[1], "SELECT FROM conversations")
            for url in urls:
                for statement in (
                    "SELECT lo_creat(-1)",
                    "CREATE TEMPORARY TABLE mine (x integer)",
                    "DROP TABLE sources",
                ):
                    with pytest.raises(InsufficientPrivilege):
                        run(url, statement)
        finally:
            run(admin, "DROP OWNED BY writer, reader", "DROP ROLE writer, reader")

    @pytest.mark.parametrize("owner_url", [True], indirect=True)
    def test_makes_the_roles_where_it_may(self, owner_url: str) -> None:
        reader = owner_url.replace("//landlord:owner", "//landlord_reader:secret")
        for _ in range(2):
            assert upgrade(owner_url, logins(None, reader)).rejected == ()
        assert run(reader, "SELECT count(*) FROM messages") == [(0,)]
        for statement in ("CREATE TABLE mine (x integer)", "CREATE TEMPORARY TABLE mine (x integer)", *WRITES):
            with pytest.raises(InsufficientPrivilege):
                run(reader, "SET default_transaction_read_only = off", statement)

    @pytest.mark.parametrize("owner_url", [False], indirect=True)
    def test_says_so_where_it_may_not_and_grants_to_those_made_by_others(
        self, server: Postgres, owner_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader = owner_url.replace("//tenant:owner", "//tenant_reader:secret")
        monkeypatch.setenv("DATABASE_URL", owner_url)
        monkeypatch.setenv("DATABASE_READER_URL", reader)
        told = CliRunner().invoke(main, ["migrate"])
        assert told.exit_code == 0, told.output
        assert "The database is migrated" in told.output
        [line] = [line for line in told.output.splitlines() if "tenant_reader" in line]
        assert "is missing" in line
        run(server.url, "CREATE ROLE tenant_reader LOGIN PASSWORD 'secret'")
        told = CliRunner().invoke(main, ["migrate"])
        assert "tenant_reader" not in told.output
        assert run(reader, "SELECT count(*) FROM messages") == [(0,)]
