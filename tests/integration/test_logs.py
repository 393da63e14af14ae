"""No log has what people wrote, a key, a secret or a token in it: not Postgres', not a broker's, not ours."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from installation import Installation, event, start_installation
from log_files import leaks
from realmate.domain.events import Verdict
from realmate.local.postgres import SETTINGS, Postgres
from realmate.migrations.runner import upgrade
from realmate.runtime.postgres import QUIET
from realmate.wire.commands import OpenCommand, Origin
from signatures import SECRET, signature
from store import PATIENT, SENT_AT, Store, open_store, opening, saying

MARKER = "segredo-5b1e7c"
SOURCES = f"""
[sources.default]
[sources.signed.signing]
scheme = "standard-webhooks"
secrets = [{{ value = "{SECRET}" }}]
[sources.limited.limit]
events_per_s = 0.01
burst = 1
"""
TOKENS = """
[tokens.reader]
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
scopes = ["read"]
"""


class LoudPostgres(Postgres):
    """As somebody else's server may be: each failed statement is logged, whole, with its details."""

    settings: Mapping[str, str] = {
        **{name: value for name, value in SETTINGS.items() if name not in QUIET},
        "log_min_error_statement": "error",
        "log_error_verbosity": "verbose",
    }


@pytest.fixture
def loud(tmp_path: Path) -> Iterator[LoudPostgres]:
    with LoudPostgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def store(loud: LoudPostgres) -> Iterator[Store]:
    """On a role that may not change what is logged."""
    with closing(psycopg2.connect(loud.url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'; ALTER SCHEMA public OWNER TO plain")
    url = f"postgresql://plain:plain@127.0.0.1:{loud.port}/realmate"
    upgrade(url)
    with open_store(url, PATIENT) as store:
        yield store


def test_a_postgres_that_logs_what_fails_has_nothing_to_log(loud: LoudPostgres, store: Store) -> None:
    key, text = str(uuid.uuid4()), f"Oi, {MARKER}"
    said = saying(key, text)
    keyed = OpenCommand("test", str(uuid.uuid4()), SENT_AT, Origin(key=MARKER))
    store.apply(opening(key), said, keyed)
    assert store.apply(saying(key, text), said, keyed, opening(key)) == [
        Verdict.ACCEPTED,
        Verdict.DUPLICATE,
        Verdict.CREATED,
        Verdict.CONVERSATION_EXISTS,
    ]
    assert store.apply(saying(key, f"{text}\0"), saying(key, text)) == [Verdict.UNSTORABLE, Verdict.ACCEPTED]
    for _ in range(20):  # races for the same new rows
        new = str(uuid.uuid4())
        batch = [opening(new), saying(new, text, message_id=new)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda batch: store.apply(*batch), [batch] * 4))
    log = loud.log.read_text()
    assert "ERROR" not in log, "nothing has failed"
    assert MARKER not in log


@pytest.mark.parametrize("transport", ["redis", "amqp"])
def test_no_log_tells_what_people_wrote(tmp_path: Path, transport: str) -> None:
    (tmp_path / "sources.toml").write_text(SOURCES)
    (tmp_path / "tokens.toml").write_text(TOKENS)
    files: dict[str, Any] = {
        "SOURCES_FILE": str(tmp_path / "sources.toml"),
        "TOKENS_FILE": str(tmp_path / "tokens.toml"),
    }
    with start_installation(tmp_path, transport, LOG_LEVEL="DEBUG", **files) as installation:
        misbehave(installation)
        for pid in backends(installation.postgres):
            terminate(installation.postgres, pid)
        misbehave(installation)
    logs = [path for path in tmp_path.rglob("*") if ".log" in path.suffixes and path.is_file()]
    assert {"postgres.log", "conversations-0.log", "intake.log"} <= {log.name for log in logs}
    assert leaks(logs, [MARKER, SECRET]) == []


def misbehave(installation: Installation) -> None:
    """What senders and readers do wrong, at the same time."""
    key, message = str(uuid.uuid4()), str(uuid.uuid4())
    text = f"Oi, {MARKER}"
    say = event("NEW_MESSAGE", id=message, content=text, conversation_id=key)
    other = event("NEW_MESSAGE", id=message, content=f"{text}!", conversation_id=key)
    fresh = [event("NEW_MESSAGE", id=str(uuid.uuid4()), content=text, conversation_id=key) for _ in range(30)]
    wrong = [{**say, "timestamp": MARKER}, {**say, "data": {"content": text}}, {"type": MARKER}]
    idempotency = {"Idempotency-Key": f"{MARKER}-{key}"}
    forged = signature(json.dumps(say).encode()) | {"webhook-signature": f"v1,{MARKER}"}
    calls: list[tuple[str, str, object, dict[str, str]]] = [
        ("POST", "/webhook/", event("NEW_CONVERSATION", id=key), {}),
        *[("POST", "/webhook/", event("NEW_CONVERSATION", id=key), idempotency) for _ in range(3)],
        *[("POST", "/webhook/", body, {}) for pair in zip([say] * 30, fresh, strict=True) for body in pair],
        ("POST", "/webhook/", other, {}),
        ("POST", "/webhook/", other, idempotency),
        ("POST", "/webhook/", other, {"Idempotency-Key": MARKER * 100}),
        *[("POST", "/webhook/", body, {}) for body in wrong],
        *[("POST", "/webhook/limited/", body, {}) for body in fresh[:3]],
        ("POST", "/webhook/signed/", say, forged),
        ("GET", f"/conversations/{key}/?source={MARKER}", None, {"Authorization": f"Bearer {MARKER}"}),
        ("POST", "/webhook/", event("CLOSE_CONVERSATION", id=key), {}),
        ("POST", "/webhook/", say, {}),
    ]
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(lambda call: ask(installation, *call), calls))


def ask(installation: Installation, method: str, path: str, body: object, headers: dict[str, str]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", installation.intake.port, timeout=20)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        connection.getresponse().read()


def backends(postgres: Postgres) -> list[int]:
    with closing(psycopg2.connect(postgres.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'realmate-%'")
        return [row[0] for row in cursor.fetchall()]


def terminate(postgres: Postgres, pid: int) -> None:
    with closing(psycopg2.connect(postgres.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
