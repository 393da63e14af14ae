"""Versions of code and schema side by side, as every deploy and every rollback has them for a while.

The rule is in docs/architecture.md, "Changing the schema": each schema also serves the version before it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from installation import Installation, event, start_installation
from realmate import migrations
from realmate.runtime.database import SCHEMA_REVISION

EXPANSION = """
    ALTER TABLE conversations ADD COLUMN expanded text;
    ALTER TABLE messages ADD COLUMN expanded integer NOT NULL DEFAULT 1;
    CREATE TABLE expanded (id uuid PRIMARY KEY);
    UPDATE alembic_version SET version_num = '9999';
"""
"""What the migration of a later version may do while this version runs."""
PATIENCE_S = 60.0


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with start_installation(tmp_path, GROUP_WINDOW_S="0.5") as installation:
        yield installation


def execute(database_url: str, statements: str) -> None:
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statements)
    finally:
        connection.close()


def assert_works(installation: Installation) -> None:
    """A conversation from its opening to its reply."""
    key, message = str(uuid.uuid4()), str(uuid.uuid4())
    assert installation.insist(event("NEW_CONVERSATION", id=key))[0] == 201
    assert installation.insist(event("NEW_MESSAGE", id=message, content="Oi", conversation_id=key))[0] == 202
    assert installation.insist(event("CLOSE_CONVERSATION", id=key))[0] == 200
    status, conversation = installation.ask("GET", f"/conversations/{key}/")
    assert (status, [each["type"] for each in conversation["messages"]]) == (200, ["INBOUND", "OUTBOUND"])


def test_the_services_go_on_when_the_schema_gets_ahead_of_them_and_start_on_it_too(installation: Installation) -> None:
    assert_works(installation)
    execute(installation.postgres.url, EXPANSION)
    services = (installation.intake, *installation.state)
    assert [installation.ask("GET", "/readyz", of=service)[0] for service in services] == [200, 200, 200]
    assert_works(installation)
    for service in services:  # a pod of this version is replaced before the later one is rolled out
        service.stop()
        service.start()
        service.wait_ready()
    assert_works(installation)


def test_a_service_is_not_ready_before_its_schema_is_there(installation: Installation) -> None:
    execute(installation.postgres.url, "UPDATE alembic_version SET version_num = '0000'")
    missing = (503, {"status": "not ready", "failing": {"database": "not migrated: run `realmate migrate`"}})
    give_up_at = time.monotonic() + PATIENCE_S
    while installation.ask("GET", "/readyz", of=installation.state[0]) != missing:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_after_a_rollback_the_migration_leaves_the_later_schema_as_it_is(database_url: str) -> None:
    execute(database_url, EXPANSION)
    command = [sys.executable, "-m", "realmate", "migrate"]
    environment = os.environ | {"DATABASE_URL": database_url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "later version (9999)" in done.stdout


def test_readiness_asks_for_the_newest_revision_and_revisions_are_numbered_in_their_order() -> None:
    [directory] = migrations.__path__
    config = Config()
    config.set_main_option("script_location", directory)
    newest_first = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert newest_first[0] == SCHEMA_REVISION
    assert newest_first == [f"{number:04}" for number in range(len(newest_first), 0, -1)]
