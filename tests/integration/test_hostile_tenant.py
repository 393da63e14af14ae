"""A tenant that piles up all it may, or has something that cannot be settled, beside one whose replies are timed."""

from __future__ import annotations

import json
import random
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from installation import Installation, event, frozen, start_installation

SOURCES = """
[sources.big]
hold = { tolerance_s = 12, max_bytes = 200000000, total_bytes = 200000000 }

[sources.neighbour]
"""
WINDOW_S = 0.5
MESSAGES = 450
HARD_TO_COMPRESS = "".join(random.Random(13).choices("ab", k=65_000))
PATIENCE_S = 60.0
LATEST_S = """
    SELECT CAST(max(extract(epoch FROM reply.arrived_at - message.arrived_at)) AS float8)
    FROM messages AS reply JOIN messages AS message USING (conversation_id, source_id)
    WHERE reply.kind = 2 AND message.kind = 1 AND source_id = (SELECT id FROM sources WHERE name = 'neighbour')
"""
UNANSWERED = """
    SELECT count(*) FROM messages AS message
    WHERE kind = 1 AND source_id = (SELECT id FROM sources WHERE name = 'neighbour') AND NOT EXISTS (
        SELECT FROM messages WHERE conversation_id = message.conversation_id AND kind = 2
    )
"""
SLEEP_ON_REPLIES_TO = """
    CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(10); RETURN NEW; END $$;
    CREATE TRIGGER sleep BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.kind = 2 AND NEW.conversation_id = '{}') EXECUTE FUNCTION sleep()
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """With little time for a statement: what was too much for the sweep in the hardening issue's small form."""
    sources = tmp_path / "sources.toml"
    sources.write_text(SOURCES)
    settings: dict[str, Any] = {
        "SOURCES_FILE": str(sources),
        "GROUP_WINDOW_S": str(WINDOW_S),
        "COMMAND_TIMEOUT_S": "0.8",
        "CLAIM_IDLE_S": "0.5",
        "LOG_FORMAT": "json",
    }
    with start_installation(tmp_path, **settings) as installation:
        yield installation


def ask_database(installation: Installation, query: str) -> object:
    connection = psycopg2.connect(installation.postgres.url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            return next(iter(cursor.fetchall()[0])) if cursor.description else None
    finally:
        connection.close()


def send(installation: Installation, source: str, body: object) -> int:
    """Until it is answered otherwise than with a 503."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        status, _ = installation.ask("POST", f"/webhook/{source}/", body)
        if status != 503:
            return status
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def talk(installation: Installation) -> None:
    key = str(uuid.uuid4())
    send(installation, "neighbour", event("NEW_CONVERSATION", id=key))
    send(installation, "neighbour", event("NEW_MESSAGE", id=str(uuid.uuid4()), content="Oi", conversation_id=key))


def talk_until(installation: Installation, query: str, wanted: object) -> None:
    """Let the neighbour talk until the query says so, and a little longer."""
    give_up_at = time.monotonic() + PATIENCE_S
    while ask_database(installation, query) != wanted:
        assert time.monotonic() < give_up_at, f"still {ask_database(installation, query)}"
        talk(installation)
        time.sleep(0.2)
    time.sleep(2 * WINDOW_S + 1)


def assert_neighbour_was_answered_in_time(installation: Installation) -> None:
    assert ask_database(installation, UNANSWERED) == 0
    took_s = ask_database(installation, LATEST_S)
    assert isinstance(took_s, float)
    assert took_s - WINDOW_S < 1


def test_what_falls_due_while_all_sweepers_are_frozen_delays_nobody_else(installation: Installation) -> None:
    key = str(uuid.uuid4())
    for _ in range(MESSAGES):
        body = event("NEW_MESSAGE", id=str(uuid.uuid4()), content=HARD_TO_COMPRESS, conversation_id=key)
        assert send(installation, "big", body) == 202
    with ExitStack() as stack:
        for service in installation.state:
            stack.enter_context(frozen(service.pid))
        time.sleep(14)
    talk_until(installation, "SELECT count(*) FROM messages WHERE kind = 4", MESSAGES)
    assert ask_database(installation, "SELECT count(*) FROM conversations WHERE failed_sweeps IS NOT NULL") == 0
    assert_neighbour_was_answered_in_time(installation)


def test_a_conversation_that_can_never_be_settled_delays_nobody_else(installation: Installation) -> None:
    key = str(uuid.uuid4())
    ask_database(installation, SLEEP_ON_REPLIES_TO.format(key))
    send(installation, "big", event("NEW_CONVERSATION", id=key))
    send(installation, "big", event("NEW_MESSAGE", id=str(uuid.uuid4()), content="Oi", conversation_id=key))
    talk_until(installation, "SELECT max(failed_sweeps) FROM conversations", 2)
    assert_neighbour_was_answered_in_time(installation)
    logged = [json.loads(line) for each in installation.state for line in each.log.read_text().splitlines()]
    told = [line for line in logged if line["event"].startswith("conversation set aside")]
    assert {(line["conversation_id"], line["source"]) for line in told} == {(key, "big")}
    with urllib.request.urlopen(f"http://127.0.0.1:{installation.state[0].port}/metrics", timeout=5) as response:
        assert 'realmate_sweep_set_aside_total{source="big"}' in response.read().decode()
