"""DATABASE_URL means the same to every process, and nothing else changes what Realmate does on a database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

from installation import Installation, environment_of
from realmate.domain.events import Verdict
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Service
from realmate.local.valkey import Valkey
from realmate.runtime.database_readiness import look
from realmate.runtime.health import NotReady
from realmate.runtime.postgres import LIBPQ_VARIABLES, connect, open_engine
from realmate.runtime.transaction import Transactions
from store import PATIENT, open_store, opening, saying

FOREIGN_SETTINGS = {
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "timezone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "synchronous_commit": "off",
    "statement_timeout": "1s",
    "lock_timeout": "1s",
}
"""What somebody may have set for the database, for all who use it."""


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    with database(postgres, "TEMPLATE template0") as url:
        yield url


@contextmanager
def database(postgres: Postgres, options: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    execute(postgres.url_of("postgres"), f"CREATE DATABASE {name} {options}")
    yield postgres.url_of(name)
    execute(postgres.url_of("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


def realmate(*command: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "realmate", *command],
        env={**os.environ, "DATABASE_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_options_in_the_url_hold_for_the_migration_the_services_and_the_admin(empty_url: str) -> None:
    execute(empty_url, "CREATE SCHEMA realm")
    url = f"{empty_url}?options=" + quote("-csearch_path=realm")
    assert realmate("migrate", url=url).returncode == 0
    with open_store(url, PATIENT) as store:
        look(store.db, read_only=False)
        assert store.apply(opening(str(uuid.uuid4()))) == [Verdict.CREATED]
        assert store.scalar("SELECT count(*) FROM realm.conversations") == 1
    assert realmate("erase", "history", url=url).returncode == 0


def test_libpq_s_environment_changes_nothing(empty_url: str) -> None:
    foreign = {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGPASSWORD": "wrong",
        "PGSERVICE": "none",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c search_path=nowhere -c default_transaction_read_only=on",
        "PGCLIENTENCODING": "LATIN1",
        "PGDATESTYLE": "German",
        "PGTZ": "Asia/Kathmandu",
        "PGTARGETSESSIONATTRS": "standby",
        "PGREQUIREAUTH": "none",
    }
    done = realmate("migrate", url=empty_url, **foreign)
    assert done.returncode == 0, done.stderr
    execute(empty_url, "SELECT id FROM public.conversations")


def test_every_variable_that_our_libpq_reads_is_known() -> None:
    [library] = Path(psycopg2.__file__).parents[1].glob("psycopg2_binary.libs/libpq-*")
    read = set(re.findall(rb"\0(PG[A-Z_]+)(?=\0)", library.read_bytes()))
    assert {name.decode() for name in read if not name.startswith(b"PGRES_")} <= LIBPQ_VARIABLES


def test_what_others_set_for_the_database_changes_nothing(database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    execute(database_url, *(f"ALTER DATABASE {name} SET {key} = '{value}'" for key, value in FOREIGN_SETTINGS.items()))
    key = str(uuid.uuid4())
    with open_store(database_url, PATIENT) as store:
        look(store.db, read_only=False)
        said = saying(key, r"Olá \ 'aspas'")
        assert store.apply(opening(key), said, said) == [Verdict.CREATED, Verdict.ACCEPTED, Verdict.DUPLICATE]
        view = store.view(key)
        assert view is not None
        assert [message.content for message in view.messages] == [r"Olá \ 'aspas'"]
        assert store.scalar("SHOW synchronous_commit") == "on", "what is promised is on the disk"
        assert store.scalar("SHOW statement_timeout") == "0"
    assert realmate("migrate", url=database_url).returncode == 0


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_rejected_in_one_line(
    postgres: Postgres, encoding: str, tmp_path: Path, valkey: Valkey
) -> None:
    with database(postgres, f"TEMPLATE template0 ENCODING {encoding} LOCALE_PROVIDER libc LOCALE 'C'") as url:
        done = realmate("migrate", "--wait", "0", url=url)
        assert done.returncode == 1
        assert done.stderr == (
            f"Error: the database's encoding is {encoding}, and Realmate needs UTF8:"
            " make one with `createdb --encoding=UTF8 --template=template0`\n"
        )
        environment = environment_of(postgres, valkey, tmp_path) | {"DATABASE_URL": url, "PORT": str(free_port())}
        with Service(["conversations"], environment, tmp_path / "log") as service:
            service._wait_until(lambda: "started" in service.log.read_text())  # noqa: SLF001 (a readiness of its own)
            installation = Installation(postgres, valkey, intake=service, state=[])
            status, told = installation.ask("GET", "/readyz")
    assert status == 503
    assert f"encoding is {encoding}" in told["failing"]["database"]


def test_of_several_hosts_the_one_that_takes_writes_is_used(database_url: str) -> None:
    server = psycopg2.extensions.parse_dsn(database_url)
    url = (
        f"postgresql://{server['user']}:{server['password']}@127.0.0.1:{free_port()},127.0.0.1:{server['port']}"
        f"/{server['dbname']}?target_session_attrs=read-write"
    )
    assert realmate("migrate", url=url).returncode == 0
    with open_store(url, PATIENT) as store:
        assert store.apply(opening(str(uuid.uuid4()))) == [Verdict.CREATED]


@pytest.mark.parametrize(
    ("ending", "complaint"),
    [
        ("?schema=x", 'DATABASE_URL: invalid URI query parameter: "schema"'),
        ("?options=%zz", 'DATABASE_URL: invalid percent-encoded token: "%zz"'),
    ],
)
def test_a_parameter_that_libpq_does_not_know_is_one_line(database_url: str, ending: str, complaint: str) -> None:
    for command in (["migrate"], ["erase", "history"], ["run", "query"]):
        done = realmate(*command, url=database_url + ending)
        assert (done.returncode, done.stderr) == (1, f"Error: {complaint}\n")


def test_a_role_that_may_not_create_is_told_in_one_line(postgres: Postgres, empty_url: str) -> None:
    role = f"weak_{uuid.uuid4().hex}"
    execute(empty_url, f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
    try:
        url = f"postgresql://{role}:weak@127.0.0.1:{postgres.port}/{empty_url.rpartition('/')[2]}"
        done = realmate("migrate", "--wait", "0", url=url)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "Error: the role of DATABASE_URL lacks a right (permission denied for schema public)"
        )
        assert done.stderr.count("\n") == 1
    finally:
        execute(empty_url, f"DROP ROLE {role}")


def test_readiness_says_which_rights_a_role_lacks(postgres: Postgres, database_url: str) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    name = database_url.rpartition("/")[2]
    execute(
        database_url, f"CREATE ROLE {role} LOGIN PASSWORD 'r'", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    engine = open_engine(
        f"postgresql://{role}:r@127.0.0.1:{postgres.port}/{name}", "realmate-test", isolation_level="AUTOCOMMIT"
    )
    try:
        look(Transactions(engine), read_only=True)
        with pytest.raises(NotReady, match=r"the role lacks rights: .*INSERT on messages"):
            look(Transactions(engine), read_only=False)
    finally:
        engine.dispose()
        execute(database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_readiness_says_that_the_database_is_read_only(database_url: str) -> None:
    engine = open_engine(
        database_url, "realmate-test", session={"default_transaction_read_only": "on"}, isolation_level="AUTOCOMMIT"
    )
    look(Transactions(engine), read_only=True)
    with pytest.raises(NotReady, match="read only"):
        look(Transactions(engine), read_only=False)
    engine.dispose()


def test_a_role_that_may_turns_off_what_postgres_would_log(database_url: str) -> None:
    connection = connect(database_url, "realmate-test")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('log_min_error_statement'), current_setting('log_error_verbosity')")
        assert cursor.fetchone() == ("panic", "terse")
    connection.close()
