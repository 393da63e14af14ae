"""`realmate rejections` and `realmate replay`, against an intake that rejects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from installation import Installation, event, start_installation
from signatures import SECRET, signature

SOURCES = """
[sources.default]

[sources.shop]
signing = { scheme = "standard-webhooks", secrets = [{ file = "shop.key" }] }

[sources.slow]
limit = { events_per_s = 0.1, burst = 1 }
"""
TOLERANCE_S = 1


@dataclass
class Intake:
    installation: Installation
    sources_file: Path

    @property
    def url(self) -> str:
        return self.installation.intake.url

    def post(self, source: str, body: bytes, **headers: str) -> tuple[int, Any]:
        signed = signature(body) if source == "shop" else {}
        path = "/webhook/" if source == "default" else f"/webhook/{source}/"
        answer = requests.post(self.url + path, data=body, headers=headers | signed, timeout=15)
        return answer.status_code, answer.json().get("code") or answer.json()["status"]

    def realmate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = {"DATABASE_URL": self.installation.postgres.url, "SOURCES_FILE": str(self.sources_file)}
        return subprocess.run(
            [sys.executable, "-m", "realmate", *arguments],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def rejections(self, *arguments: str) -> list[dict[str, Any]]:
        listed = self.realmate("rejections", "list", "--json", *arguments)
        assert listed.returncode == 0, listed
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def inbound(self, conversation_id: str, source: str) -> list[str]:
        """What its messages say, without the replies."""
        status, body = self.installation.ask("GET", f"/conversations/{conversation_id}/?source={source}")
        assert status == 200
        return [message["content"] for message in body["messages"] if message["type"] == "INBOUND"]


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    directory = tmp_path_factory.mktemp("replay")
    (directory / "shop.key").write_text(SECRET)
    path = directory / "sources.toml"
    path.write_text(SOURCES)
    with start_installation(directory, SOURCES_FILE=str(path), HOLD_TOLERANCE_S=str(TOLERANCE_S)) as installation:
        yield Intake(installation, path)


def encoded(kind: str, **data: str) -> bytes:
    return json.dumps(event(kind, **data)).encode()


def test_what_the_intake_rejects_is_kept_too(intake: Intake) -> None:
    assert intake.post("shop", b"{") == (400, "invalid_json")
    assert intake.post("shop", b"{}") == (400, "invalid_event")
    assert intake.post("shop", b"{}", **{"Idempotency-Key": "k" * 256}) == (
        400,
        "invalid_event",
    )  # webhook-id comes first
    assert intake.post("default", b"{}", **{"Idempotency-Key": "k" * 256}) == (400, "invalid_idempotency_key")
    kept = intake.rejections("--source", "shop", "--code", "invalid_json", "--code", "invalid_event")
    assert [(it["code"], it["body"]) for it in kept] == [
        ("invalid_json", "{"),
        ("invalid_event", "{}"),
        ("invalid_event", "{}"),
    ]
    assert "type: is required" in kept[1]["detail"]
    assert len(intake.rejections("--code", "invalid_idempotency_key")) == 1


def test_what_was_not_proven_is_not_kept(intake: Intake) -> None:
    before = len(intake.rejections())
    answer = requests.post(f"{intake.url}/webhook/shop/", data=b"{", headers=signature(b"["), timeout=15)
    assert answer.status_code == 401
    assert len(intake.rejections()) == before


def test_a_rejection_without_an_event_has_its_key_too(intake: Intake) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    assert intake.post("default", b"{", **key) == (400, "invalid_json")
    assert intake.post("default", b"{", **key) == (400, "invalid_json")
    assert intake.post("default", b"[", **key) == (400, "invalid_json")  # unsigned, a key fits no other body


def test_an_expired_message_comes_in_when_it_is_replayed(intake: Intake) -> None:
    conversation_id = str(uuid4())
    message = encoded("NEW_MESSAGE", id=str(uuid4()), content="Olá", conversation_id=conversation_id)
    of_it = ("--conversation", conversation_id)
    assert intake.post("shop", message) == (202, "held")
    give_up_at = time.monotonic() + 20
    while not intake.rejections(*of_it):
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
    assert intake.post("shop", encoded("NEW_CONVERSATION", id=conversation_id)) == (201, "created")
    assert intake.post("shop", message) == (400, "hold_expired")
    assert [it["code"] for it in intake.rejections(*of_it)] == ["expired", "hold_expired"]

    dry = intake.realmate("replay", *of_it, "--url", intake.url)
    assert dry.returncode == 0
    assert "2 sent with a new message id" in dry.stdout
    assert "dry run" in dry.stdout
    assert intake.inbound(conversation_id, "shop") == []

    sent = intake.realmate("replay", *of_it, "--send", "--url", intake.url)
    assert sent.returncode == 0, sent
    assert "1 answered 202 accepted, 1 answered 202 duplicate" in sent.stdout
    assert intake.inbound(conversation_id, "shop") == ["Olá"]
    assert [it["replay_status"] for it in intake.rejections(*of_it)] == [202, 202]

    assert "Nothing to send" in intake.realmate("replay", *of_it, "--url", intake.url).stdout
    again = intake.realmate("replay", *of_it, "--again", "--send", "--url", intake.url)
    assert "1 answered 202 accepted, 1 answered 202 duplicate" in again.stdout  # by their keys
    assert intake.inbound(conversation_id, "shop") == ["Olá"]


def test_what_can_only_get_the_same_answer_is_not_sent(intake: Intake) -> None:
    conversation_id = str(uuid4())
    opening = encoded("NEW_CONVERSATION", id=conversation_id)
    assert intake.post("default", opening) == (201, "created")
    assert intake.post("default", opening) == (400, "conversation_exists")
    done = intake.realmate("replay", "--conversation", conversation_id, "--send", "--url", intake.url)
    assert done.returncode == 0
    assert "1 not sent: the answer could only be the same (conversation_exists)" in done.stdout


def test_what_came_too_fast_is_kept_and_can_come_again(intake: Intake) -> None:
    key = str(uuid4())
    assert intake.post("slow", encoded("NEW_CONVERSATION", id=str(uuid4())))[0] == 201
    opening = encoded("NEW_CONVERSATION", id=key)
    assert intake.post("slow", opening, **{"Idempotency-Key": key}) == (429, "too_many_events")
    [kept] = intake.rejections("--source", "slow")
    assert kept["body"] == opening.decode()
    intake.sources_file.write_text(SOURCES.replace("0.1", "1000"))
    give_up_at = time.monotonic() + 20
    while intake.post("slow", opening, **{"Idempotency-Key": key}) != (201, "created"):
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def test_nobody_there_is_said_and_nothing_is_marked(intake: Intake) -> None:
    assert intake.post("default", encoded("CLOSE_CONVERSATION", id=str(uuid4()))) == (400, "conversation_not_found")
    failed = intake.realmate(
        "replay", "--source", "default", "--code", "conversation_not_found", "--send", "--url", "http://127.0.0.1:9"
    )
    assert failed.returncode == 1
    assert "nothing answers at http://127.0.0.1:9" in failed.stderr
    assert "Traceback" not in failed.stderr
    [kept] = intake.rejections("--code", "conversation_not_found", "--source", "default")
    assert kept["replay_status"] is None


def test_a_person_sees_what_is_there_and_what_is_not(intake: Intake) -> None:
    intake.post("default", b"a person looks at this")
    [kept] = intake.rejections("--limit", "1")
    listed = intake.realmate("rejections", "list", "--since", "5m", "--limit", "1").stdout
    assert f"{kept['id']}  " in listed
    assert "invalid_json" in listed
    shown = intake.realmate("rejections", "show", str(kept["id"])).stdout
    assert "a person looks at this" in shown
    assert intake.realmate("rejections", "show", str(kept["id"]), "--body").stdout == "a person looks at this\n"
    missing = intake.realmate("rejections", "show", "999999999")
    assert (missing.returncode, missing.stderr) == (
        1,
        "Error: there is no rejection 999999999; it may have been forgotten, or erased\n",
    )
    assert "is no moment" in intake.realmate("rejections", "list", "--since", "yesterday").stderr
