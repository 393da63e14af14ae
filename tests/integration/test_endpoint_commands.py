"""`realmate endpoints …` and `realmate trigger`, as somebody runs them who operates a Realmate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outbound import Outbound, endpoint, outbound
from realmate.conversations.sequencer import number
from realmate.domain.changes import EVENT_TYPES
from receivers import Answer, Receiver, receiving
from signatures import SECRET
from store import closing, saying


@pytest.fixture
def out(database_url: str) -> Iterator[Outbound]:
    with outbound(database_url) as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


class Shell:
    """A terminal with a file of sources that names the endpoint `crm`."""

    def __init__(self, directory: Path, database_url: str, receiver: Receiver) -> None:
        self.sources = directory / "sources.toml"
        self.write(receiver)
        self.environment = os.environ | {"DATABASE_URL": database_url, "SOURCES_FILE": str(self.sources)}

    def write(self, receiver: Receiver, more: str = "") -> None:
        secrets = f'[{{ value = "{SECRET}" }}]'
        self.sources.write_text(
            f'[endpoints.crm]\nurl = "{receiver.url}"\nsecrets = {secrets}\nallow_private = true\n{more}'
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command that ends with this code; return what it says."""
        command = [sys.executable, "-m", "realmate", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "Eventlet" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(tmp_path: Path, database_url: str, receiver: Receiver) -> Shell:
    return Shell(tmp_path, database_url, receiver)


def test_an_endpoint_is_listed_with_its_state(out: Outbound, receiver: Receiver, shell: Shell) -> None:
    assert shell.json("endpoints", "list")["state"] == "new"
    out.name(endpoint(receiver, schedule_s=(60.0,)))
    assert shell.json("endpoints", "list")["state"] == "delivering"
    receiver.answer = lambda _: Answer(500)
    out.opened()
    number(out.store.db)
    assert shell.json("endpoints", "list")["behind"] == 1
    out.deliver()
    listed = shell.json("endpoints", "list")
    assert (listed["state"], listed["waiting"], listed["behind"]) == ("failing", 1, 0)
    shell.sources.write_text("")
    assert "not in the file" in shell.run("endpoints", "list")


def test_an_endpoint_is_shown_with_its_attempts_and_answers(out: Outbound, receiver: Receiver, shell: Shell) -> None:
    out.name(endpoint(receiver, schedule_s=(0.0,)))
    told = iter([Answer(500, b"the disk is full")])
    receiver.answer = lambda _: next(told, Answer())
    key = out.opened()
    out.deliver()
    shown = shell.run("endpoints", "show", "crm")
    assert all(each in shown for each in ("the disk is full", key, "status 500", "delivered", receiver.url))
    attempts = shell.json("endpoints", "show", "crm", "--attempts", "1")["attempts"]
    assert [(each["outcome"], each["status"], each["attempt"]) for each in attempts] == [("delivered", 204, 2)]
    assert SECRET not in shown
    assert "has an endpoint erp" in shell.run("endpoints", "show", "erp", code=1)


def test_a_test_sends_a_sample_that_the_receiver_can_verify(receiver: Receiver, shell: Shell) -> None:
    assert "status 204" in shell.run("endpoints", "test", "crm")
    receiver.answer = lambda _: Answer(401, b"who are you?")
    assert "who are you?" in shell.run("endpoints", "test", "crm", code=1)
    assert receiver.forged == 0
    assert [each.event["type"] for each in receiver.requests] == ["conversation.opened"] * 2
    assert "has no endpoint erp; it has crm" in shell.run("endpoints", "test", "erp", code=1)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_sample_of_each_event_can_be_triggered(receiver: Receiver, shell: Shell, kind: str) -> None:
    shell.run("trigger", kind)
    [sent] = receiver.requests
    assert sent.event["type"] == kind
    assert set(sent.event) == {"id", "type", "timestamp", "source", "conversation_id", "data"}
    assert ("message" in sent.event["data"]) is (kind.startswith("message.") or kind == "reply.created")


def test_a_trigger_goes_to_those_who_want_the_event(receiver: Receiver, shell: Shell) -> None:
    shell.write(receiver, 'events = ["reply.created"]\n')
    assert "no endpoint that wants conversation.closed" in shell.run("trigger", "conversation.closed", code=1)
    shell.run("trigger", "conversation.closed", "--endpoint", "crm")
    assert len(receiver.requests) == 1


def test_pause_and_resume(out: Outbound, receiver: Receiver, shell: Shell) -> None:
    assert "has `deliveries` read it" in shell.run("endpoints", "pause", "crm", code=1)
    out.name(endpoint(receiver, schedule_s=(3600.0,)))
    receiver.answer = lambda _: Answer(500)
    stuck = out.opened()
    out.deliver()
    assert "crm is paused." in shell.run("endpoints", "pause", "crm")
    assert "already (asked)" in shell.run("endpoints", "pause", "crm")
    receiver.answer = lambda _: Answer()
    later = out.opened("Oi")
    out.deliver()
    assert receiver.taken == []
    assert "crm goes on" in shell.run("endpoints", "resume", "crm")
    out.deliver()
    assert receiver.told(stuck, only_taken=True) == ["conversation.opened"], "its retry need not wait for an hour"
    assert receiver.told(later) == ["conversation.opened", "message.received 1"]


def forget_the_feed(out: Outbound) -> None:
    while number(out.store.db):
        pass
    out.store.execute("DELETE FROM changes WHERE position < (SELECT position FROM feed)")


def test_beyond_the_feed_an_endpoint_is_recovered_from_the_tables(
    out: Outbound, receiver: Receiver, shell: Shell
) -> None:
    out.name(endpoint(receiver))
    had = out.opened("had")
    out.deliver()
    known = [each.id for each in receiver.requests]
    shell.run("endpoints", "pause", "crm")
    missed = out.opened("um", "dois")
    out.store.apply(saying(had, "more"))
    out.store.apply(closing(had))
    receiver.requests.clear()
    forget_the_feed(out)
    said = shell.run("endpoints", "resume", "crm", code=1)
    assert "realmate endpoints recover crm --since 20" in said
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert "is sent 8 events of before" in shell.run("endpoints", "recover", "crm", "--since", since)
    out.deliver()
    assert receiver.told(missed) == ["conversation.opened", "message.received 1", "message.received 2"]
    received = ["message.received 1", "message.received 2"]
    assert receiver.told(had) == ["conversation.opened", *received, "reply.created 3", "conversation.closed"]
    assert [each.id for each in receiver.requests if each.id in known] == known, "the ids are those of before"
    after = out.opened()
    out.deliver()
    assert receiver.told(after) == ["conversation.opened"]
    assert out.is_empty


def test_a_recovery_that_is_run_again_adds_nothing_twice(out: Outbound, receiver: Receiver, shell: Shell) -> None:
    out.name(endpoint(receiver))
    key = out.opened("um")
    forget_the_feed(out)
    shell.run("endpoints", "recover", "crm", "--since", "1h")
    shell.run("endpoints", "recover", "crm", "--since", "1h")
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "message.received 1"]


def test_a_recovery_heeds_the_endpoint_s_events_and_moment(out: Outbound, receiver: Receiver, shell: Shell) -> None:
    wanted = frozenset({"message.received"})
    out.name(endpoint(receiver, events=wanted))
    shell.write(receiver, 'events = ["message.received"]\n')
    old, new = out.opened("old"), out.opened("new")
    out.store.execute(
        "UPDATE messages SET arrived_at = arrived_at - interval '2 hours' WHERE conversation_id = CAST(:key AS uuid)",
        key=old,
    )
    out.store.execute(
        "UPDATE conversations SET created_at = created_at - interval '2 hours' WHERE id = CAST(:key AS uuid)", key=old
    )
    forget_the_feed(out)
    shell.run("endpoints", "recover", "crm", "--since", "1h")
    out.deliver()
    assert receiver.told(old) == []
    assert receiver.told(new) == ["message.received 1"]
