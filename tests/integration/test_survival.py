"""Kill each part under load: every 2xx survives, every message is in exactly one reply, and nobody lends a hand.

Real processes: one intake, two conversations services that share the stream and the timers, Postgres, Valkey.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from installation import Answer, Installation, event, start_installation

SENDERS = 12
LOAD_S = 4.0
SETTLED_WITHIN_S = 30.0


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with start_installation(tmp_path, GROUP_WINDOW_S="0.5") as installation:
        yield installation


@dataclass
class Sender:
    """Opens one conversation after the other and talks in bursts; remembers what it was promised."""

    installation: Installation
    promised: dict[uuid.UUID, list[str]] = field(default_factory=dict)
    refused: list[Answer] = field(default_factory=list)

    def talk(self, until: float) -> None:
        while time.monotonic() < until:
            key = uuid.uuid4()
            opened = self.installation.insist(event("NEW_CONVERSATION", id=str(key)))
            # Refused as existing: a 503 or a lost connection hid the commit of an earlier try. It is open all the same.
            if opened[0] != 201 and opened[1]["code"] != "conversation_exists":
                self.refused.append(opened)
            self.promised[key] = [self._say(key) for _ in range(6)]

    def _say(self, key: uuid.UUID) -> str:
        message = str(uuid.uuid4())
        said = self.installation.insist(event("NEW_MESSAGE", id=message, content="Oi", conversation_id=str(key)))
        if said[1].get("status") not in {"accepted", "duplicate"}:
            self.refused.append(said)
        return message


def nothing(_: Installation) -> None:
    """No fault: what the others are compared with."""


def kill_a_consumer(installation: Installation) -> None:
    """The other claims what it had in hand. It stays dead."""
    installation.state[0].kill()


def kill_both_consumers(installation: Installation) -> None:
    for service in installation.state:
        service.kill()
    for service in installation.state:
        service.start()


def kill_the_intake(installation: Installation) -> None:
    installation.intake.kill()
    installation.intake.start()


def kill_valkey(installation: Installation) -> None:
    installation.valkey.kill()
    time.sleep(0.5)
    installation.valkey.start()


def kill_postgres(installation: Installation) -> None:
    installation.postgres.kill()
    time.sleep(0.5)
    installation.postgres.start()


def stop_a_consumer_in_order(installation: Installation) -> None:
    installation.state[0].stop()
    assert installation.state[0].exit_code == 0


@pytest.mark.parametrize(
    "fault",
    [
        nothing,
        kill_a_consumer,
        kill_both_consumers,
        kill_the_intake,
        kill_valkey,
        kill_postgres,
        stop_a_consumer_in_order,
    ],
    ids=lambda fault: fault.__name__,
)
def test_every_promise_survives(installation: Installation, fault: Callable[[Installation], None]) -> None:
    senders = [Sender(installation) for _ in range(SENDERS)]
    until = time.monotonic() + LOAD_S
    threads = [threading.Thread(target=sender.talk, args=[until]) for sender in senders]
    for thread in threads:
        thread.start()
    time.sleep(LOAD_S / 3)
    fault(installation)
    for thread in threads:
        thread.join()

    assert [refusal for sender in senders for refusal in sender.refused] == []
    promised = {key: messages for sender in senders for key, messages in sender.promised.items()}
    assert len(promised) >= SENDERS
    for key, messages in promised.items():
        conversation = settled(installation, key)
        inbound = [message["id"] for message in conversation["messages"] if message["type"] == "INBOUND"]
        assert sorted(inbound) == sorted(messages)


def settled(installation: Installation, key: uuid.UUID) -> dict[str, Any]:
    """The conversation once all its messages are answered, each in exactly one reply."""
    give_up_at = time.monotonic() + SETTLED_WITHIN_S
    while True:
        status, conversation = installation.ask("GET", f"/conversations/{key}/")
        assert status in {200, 503}
        if status == 200:
            inbound = [message["id"] for message in conversation["messages"] if message["type"] == "INBOUND"]
            replies = [message for message in conversation["messages"] if message["type"] == "OUTBOUND"]
            named = [line for reply in replies for line in reply["content"].splitlines()[1:]]
            if sorted(named) == sorted(inbound):
                return conversation
            assert len(named) == len(set(named)), "no message is in two replies"
        assert time.monotonic() < give_up_at, f"still unanswered: {conversation}"
        time.sleep(0.1)
