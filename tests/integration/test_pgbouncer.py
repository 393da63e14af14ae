"""Behind a PgBouncer that pools transactions, where neither settings nor prepared statements last, Realmate works."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from installation import Installation, environment_of, event
from pgbouncer import PgBouncer
from realmate.domain.events import Verdict
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Service
from realmate.local.valkey import Valkey
from realmate.runtime.database_readiness import look
from store import PATIENT, closing, inbound, open_store, opening, replied, saying


@pytest.fixture(params=["transaction", "transaction, options ignored", "session"])
def pgbouncer(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[PgBouncer]:
    mode, _, ignores = request.param.partition(", ")
    with PgBouncer(tmp_path, database_url, mode=mode, ignores_options=bool(ignores)) as pooler:
        yield pooler


def test_events_are_stored_and_read_through_it(pgbouncer: PgBouncer) -> None:
    keys = [str(uuid.uuid4()) for _ in range(40)]
    with open_store(pgbouncer.url, PATIENT) as store:
        look(store.db, read_only=False)

        def talk(key: str) -> None:
            said = saying(key, r"Olá, 100 % \\ 'aspas' $1")
            assert store.apply(opening(key), said) == [Verdict.CREATED, Verdict.ACCEPTED]
            assert store.apply(said, closing(key)) == [Verdict.DUPLICATE, Verdict.CLOSED]
            view = store.view(key)
            assert view is not None
            assert view.messages[0].content == said.content
            assert replied(view) == [inbound(view)]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(talk, keys))


def test_its_other_clients_keep_their_own_settings(pgbouncer: PgBouncer) -> None:
    with open_store(pgbouncer.url, PATIENT) as store:
        store.apply(opening(str(uuid.uuid4())))
        assert store.scalar("SHOW enable_seqscan") == "on"
        assert store.scalar("SELECT count(*) FROM pg_prepared_statements") == 0


def test_a_migration_asks_for_postgres_itself(pgbouncer: PgBouncer, postgres: Postgres, tmp_path: Path) -> None:
    environment = environment_of(postgres, None, tmp_path) | {"DATABASE_URL": pgbouncer.url}
    command = [sys.executable, "-m", "realmate", "migrate", "--wait", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: a connection pooler (such as PgBouncer) stands before the database")
    assert done.stderr.count("\n") == 1


def test_the_services_run_through_it(pgbouncer: PgBouncer, valkey: Valkey, postgres: Postgres, tmp_path: Path) -> None:
    environment = environment_of(postgres, valkey, tmp_path) | {"DATABASE_URL": pgbouncer.url, "PORT": str(free_port())}
    with Service(["webhook", "conversations", "query"], environment, tmp_path / "services.log") as services:
        services.wait_ready()
        installation = Installation(postgres, valkey, intake=services, state=[])
        key = str(uuid.uuid4())
        assert installation.insist(event("NEW_CONVERSATION", id=key))[0] == 201
        assert installation.insist(event("NEW_MESSAGE", id=key, content="Oi", conversation_id=key))[0] == 202
        assert installation.insist(event("CLOSE_CONVERSATION", id=key))[0] == 200
        status, shown = installation.ask("GET", f"/conversations/{key}/")
        assert (status, [each["type"] for each in shown["messages"]]) == (200, ["INBOUND", "OUTBOUND"])
