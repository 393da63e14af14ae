"""Real stores for every test that asks: one Postgres and one Valkey for each pytest process, fresh for each test.

Nothing starts until a test needs it. A test that stops or kills a store makes its own (`Postgres(tmp_path)`).
Code that runs under eventlet runs in processes of its own: nothing is monkey-patched here.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import psycopg2
import pytest
import redis
from hypothesis import HealthCheck, settings

from realmate.local.postgres import Postgres
from realmate.local.valkey import Valkey

# How long an example takes says more about who else uses the machine than about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """This pytest process's PostgreSQL. Its database `realmate` is migrated and a template: do not write there."""
    from realmate.migrations.runner import upgrade

    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        upgrade(server.url)
        yield server
    shutil.rmtree(server.data_dir)  # 80 MB, and pytest would keep the last three


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE realmate")
    yield postgres.url_of(name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """This pytest process's Valkey."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """The URL of an empty Valkey."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


def _execute(postgres: Postgres, statement: str) -> None:
    connection = psycopg2.connect(postgres.url_of("postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
