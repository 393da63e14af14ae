"""The embedded stores: they keep what they were given, come back after a kill, and are never left behind."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.local import postgres as postgres_module
from realmate.local.child import LocalError
from realmate.local.postgres import Postgres
from realmate.local.valkey import Valkey


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def wait_gone(pids: list[int], timeout_s: float = 20) -> None:
    gone_by = time.monotonic() + timeout_s
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < gone_by, f"still alive: {[psutil.Process(pid).cmdline() for pid in alive]}"
        time.sleep(0.05)


def test_postgres_keeps_its_rows_over_a_stop_and_a_start(own_postgres: Postgres) -> None:
    query(own_postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    own_postgres.stop()
    own_postgres.start()
    assert query(own_postgres.url, "SELECT answer FROM kept") == [(42,)]


def test_postgres_keeps_committed_rows_over_a_kill_with_sessions_open(own_postgres: Postgres) -> None:
    url = own_postgres.url
    session = psycopg2.connect(url)
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    own_postgres.kill()
    own_postgres.start()
    assert own_postgres.url == url, "the same port and password, so that services find it again"
    assert query(url, "SELECT answer FROM kept") == [(42,)]
    session.close()


def test_another_object_on_the_same_directory_takes_over_after_a_stop(tmp_path: Path) -> None:
    with Postgres(tmp_path) as first:
        query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with Postgres(tmp_path) as second:
        assert query(second.url, "SELECT answer FROM kept") == [(42,)]


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(own_postgres: Postgres) -> None:
    """After a reboot any process may have the number that the file names."""
    own_postgres.kill()
    pid_file = own_postgres.data_dir / "cluster" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().splitlines()[0], str(os.getpid()), 1))
    own_postgres.start()
    assert query(own_postgres.url, "SELECT 1") == [(1,)]


def test_a_second_postgres_on_the_directory_of_a_running_one_is_rejected(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "LOCK_TIMEOUT_S", 0.1)
    with pytest.raises(LocalError, match="another Postgres still runs"):
        Postgres(own_postgres.data_dir).start()
    assert query(own_postgres.url, "SELECT 1") == [(1,)], "the running one is left in peace"


def test_an_interrupted_first_start_is_made_good_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "cluster.unfinished" / "base").mkdir(parents=True)
    with Postgres(tmp_path) as server:
        assert query(server.url, "SELECT 1") == [(1,)]


def test_a_postgres_that_cannot_start_shows_why(tmp_path: Path) -> None:
    with listening() as port, pytest.raises(LocalError, match="Address already in use"):
        Postgres(tmp_path, port=port).start()


def test_a_valkey_that_cannot_start_shows_why(tmp_path: Path) -> None:
    with listening() as port, pytest.raises(LocalError, match=r"(?i)address already in use"):
        Valkey(tmp_path, port=port).start()


def test_postgres_acknowledges_a_commit_only_when_it_is_on_disk(own_postgres: Postgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert query(own_postgres.url, f"SHOW {setting}") == [("on",)]


def test_the_database_is_utf8_and_sorts_the_same_on_every_machine(own_postgres: Postgres) -> None:
    assert query(own_postgres.url, "SHOW server_encoding") == [("UTF8",)]
    assert query(own_postgres.url, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'realmate'") == [
        ("b", "C.UTF-8")
    ]


def test_both_stores_listen_on_loopback_alone(own_postgres: Postgres, own_valkey: Valkey) -> None:
    for server in (own_postgres, own_valkey):
        sockets = psutil.Process(server.pid).net_connections(kind="all")
        listeners = {found.laddr for found in sockets if found.status == psutil.CONN_LISTEN}
        assert listeners == {("127.0.0.1", server.port)}


def test_both_stores_want_a_password_that_only_their_owner_can_read(own_postgres: Postgres, own_valkey: Valkey) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=own_postgres.port, user="realmate", password="x", dbname="realmate")  # noqa: S106
    with (
        redis.Redis(port=own_valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    for server in (own_postgres, own_valkey):
        assert (server.data_dir / "password").stat().st_mode & 0o777 == 0o600
    assert (own_valkey.data_dir / "valkey.conf").stat().st_mode & 0o777 == 0o600


def test_valkey_comes_back_on_its_port_after_a_kill_and_writes_nothing_to_disk(own_valkey: Valkey) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.set("pipe", "content")
    own_valkey.kill()
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as client:
        assert client.get("pipe") is None
    own_valkey.stop()
    assert {path.name for path in own_valkey.data_dir.iterdir()} == {"password", "valkey.conf", "valkey.log"}


@pytest.mark.skipif(os.geteuid() != 0, reason="about what happens when root starts it")
def test_root_gets_a_postgres_that_runs_as_nobody(own_postgres: Postgres) -> None:
    """The tests' own directories are closed to others (0700), as a home directory often is."""
    assert psutil.Process(own_postgres.pid).uids().effective == pwd.getpwnam("nobody").pw_uid


HOLDER = """
import sys, time
from pathlib import Path
from realmate.local.postgres import Postgres
from realmate.local.valkey import Valkey

stores = Postgres(Path(sys.argv[1], "postgres")), Valkey(Path(sys.argv[1], "valkey"))
for store in stores:
    store.start()
print(*(store.pid for store in stores), flush=True)
time.sleep(600)
"""


def test_a_kill_of_the_parent_leaves_no_store_behind(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        stores = [int(pid) for pid in holder.stdout.readline().split()]
        assert len(stores) == 2
        family = [*stores, *(child.pid for pid in stores for child in psutil.Process(pid).children(recursive=True))]
        holder.send_signal(signal.SIGKILL)
    wait_gone(family)


def test_a_tests_database_is_migrated_and_empty(database_url: str) -> None:
    tables = query(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert ("alembic_version",) in tables
    assert query(database_url, "SELECT count(*) FROM conversations") == [(0,)]


def test_a_tests_valkey_is_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
