"""`realmate migrate` against real databases, also where nobody coordinates who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import psycopg2
import pytest

from realmate.local.postgres import Postgres


@pytest.fixture
def empty_database_url(postgres: Postgres) -> str:
    name = f"empty_{uuid.uuid4().hex}"
    connection = psycopg2.connect(postgres.url_of("postgres"))
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return postgres.url_of(name)


def test_many_at_the_same_time_migrate_once(empty_database_url: str) -> None:
    command = [sys.executable, "-m", "realmate", "migrate"]
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    at_once = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in at_once]
    assert [process.returncode for process in at_once] == [0] * 4
    assert sum("migrated" in line for line in said) == 1
    assert sum("up to date" in line for line in said) == 3
