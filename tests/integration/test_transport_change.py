"""From one transport to the other while webhooks of both kinds are at work: a rolling update has them side by side."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from installation import QUEUE_REGISTERED_S, TRANSPORTS, Broker, Installation, environment_of, event
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service

TURN = {"redis": "amqp", "amqp": "redis"}


@dataclass
class Change:
    """Two webhooks, of before and of now, and one conversations service that takes from both."""

    before: Installation
    now: Installation
    broker_before: Broker


@pytest.fixture(params=TURN)
def change(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Change]:
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(tmp_path / "postgres"))
        before, now = (
            stack.enter_context(TRANSPORTS[kind](tmp_path / kind)) for kind in (request.param, TURN[request.param])
        )
        environment = environment_of(postgres, None, tmp_path)
        Migration(environment, tmp_path / "migrate.log").start()

        def start(*names: str, log: str, **settings: str) -> Service:
            service = Service(names, environment | settings | {"PORT": str(free_port())}, tmp_path / log)
            return stack.enter_context(service)

        urls = {"TRANSPORT_URL": now.url, "DRAIN_TRANSPORT_URL": before.url}
        state = [start("conversations", log="conversations.log", **urls)]
        intakes = [
            start("webhook", "query", log=f"intake-{number}.log", TRANSPORT_URL=broker.url)
            for number, broker in enumerate((before, now))
        ]
        for service in (*state, *intakes):
            service.wait_ready()
        time.sleep(QUEUE_REGISTERED_S)
        of_before, of_now = (Installation(postgres, now, intake, state) for intake in intakes)
        yield Change(of_before, of_now, broker_before=before)


def test_events_of_both_are_taken(change: Change) -> None:
    key = str(uuid.uuid4())
    assert change.before.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=key))[0] == 201
    for installation in (change.now, change.before, change.now):
        message = event("NEW_MESSAGE", id=str(uuid.uuid4()), content="Oi", conversation_id=key)
        assert installation.ask("POST", "/webhook/", message)[0] == 202
    assert change.now.ask("POST", "/webhook/", event("CLOSE_CONVERSATION", id=key))[0] == 200
    _, conversation = change.before.ask("GET", f"/conversations/{key}/")
    assert [each["type"] for each in conversation["messages"]] == ["INBOUND"] * 3 + ["OUTBOUND"]


def test_what_was_before_may_go(change: Change) -> None:
    change.before.intake.stop()
    change.broker_before.stop()
    for _ in range(20):
        assert change.now.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=str(uuid.uuid4())))[0] == 201
        time.sleep(0.1)
    assert change.now.ask("GET", "/readyz", of=change.now.state[0])[0] == 200
