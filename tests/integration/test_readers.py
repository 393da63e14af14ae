"""Readers with tokens, in running processes: who reads what, and who sees the metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from installation import Installation, event, start_installation
from realmate.sources import tokens

SOURCES = "[sources.default]\n[sources.shop]\n[sources.store]\n"
PATIENCE_S = 20


@dataclass
class Readers:
    installation: Installation
    path: Path
    everyone: str
    shop: str
    admin: str

    def entries(self) -> str:
        return "\n\n".join(
            (
                tokens.entry("everyone", self.everyone, ["read"], []),
                tokens.entry("shop", self.shop, ["read"], ["shop"]),
                tokens.entry("admin", self.admin, ["admin"], []),
            )
        )

    def write(self, text: str) -> None:
        """Replace the file in one step, as an editor does: a service must never read half of it, or nothing."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def get(self, path: str, token: str | None = None) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return requests.get(self.installation.intake.url + path, headers=headers, timeout=15)

    def open_conversation(self, source: str, conversation_id: str) -> None:
        answer = requests.post(
            f"{self.installation.intake.url}/webhook/{source}/",
            data=json.dumps(event("NEW_CONVERSATION", id=conversation_id)),
            timeout=15,
        )
        assert answer.status_code == 201


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    directory = tmp_path_factory.mktemp("readers")
    files = {name: directory / f"{name}.toml" for name in ("sources", "tokens")}
    files["sources"].write_text(SOURCES)
    files["tokens"].write_text("")
    with start_installation(
        directory, SOURCES_FILE=str(files["sources"]), TOKENS_FILE=str(files["tokens"])
    ) as installation:
        readers = Readers(installation, files["tokens"], *(tokens.make() for _ in range(3)))
        assert readers.get("/metrics", readers.admin).status_code == 401  # with a file, nobody is admitted unnamed
        readers.write(readers.entries())
        until(readers, readers.admin, 200)
        yield readers


def until(readers: Readers, token: str, status: int) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while readers.get("/metrics", token).status_code != status:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_without_a_token_nobody_reads_and_anybody_sends(readers: Readers) -> None:
    conversation_id = str(uuid4())
    readers.open_conversation("default", conversation_id)
    for path, scope in ((f"/conversations/{conversation_id}/", "read"), ("/metrics", "admin")):
        answer = readers.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_required")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="realmate"'
        answer = readers.get(path, tokens.make())
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        answer = readers.get(path, readers.admin if scope == "read" else readers.everyone)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]
    for path in ("/healthz", "/readyz"):
        assert readers.get(path).status_code == 200


def test_a_token_reads_its_sources_conversations_and_no_other(readers: Readers) -> None:
    shared, other = str(uuid4()), str(uuid4())
    for source in ("default", "store", "shop"):
        readers.open_conversation(source, shared)
    readers.open_conversation("store", other)

    def status(token: str, conversation_id: str, query: str = "") -> int:
        return readers.get(f"/conversations/{conversation_id}/{query}", token).status_code

    assert [status(readers.everyone, shared, query) for query in ("", "?source=store")] == [409, 200]
    asked = readers.get(f"/conversations/{shared}/", readers.everyone).json()
    assert (asked["code"], asked["sources"]) == ("ambiguous_source", ["default", "shop", "store"])
    assert status(readers.everyone, other) == 200
    assert [status(readers.shop, shared, query) for query in ("", "?source=shop", "?source=store")] == [200, 200, 404]
    assert [status(readers.shop, other, query) for query in ("", "?source=store", "?source=shop")] == [404, 404, 404]
    for strange in ("?source=%00", "?source=%ff", "?source=SHOP'", f"?source={'s' * 5000}"):
        assert status(readers.everyone, shared, strange) == 404
    own = readers.get(f"/conversations/{shared}/", readers.shop)
    assert own.json() == readers.get(f"/conversations/{shared}/?source=shop", readers.everyone).json()


def test_a_token_taken_out_of_the_file_is_rejected_within_seconds(readers: Readers) -> None:
    second = tokens.make()
    readers.write(f"{readers.entries()}\n\n{tokens.entry('second', second, ['admin'], [])}")
    until(readers, second, 200)
    assert readers.get("/metrics", readers.admin).status_code == 200
    readers.write(readers.entries())
    until(readers, second, 401)


def test_a_broken_file_keeps_what_it_said_and_is_told_of(readers: Readers) -> None:
    readers.write("[tokens")
    give_up_at = time.monotonic() + PATIENCE_S
    while "notes" not in (ready := readers.get("/readyz").json()):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    assert "tokens" in ready["notes"]
    metrics = readers.get("/metrics", readers.admin)
    assert "realmate_tokens_file_broken 1.0" in metrics.text
    readers.write(readers.entries())


def test_no_token_is_in_the_log_or_the_metrics(readers: Readers) -> None:
    assert readers.get("/metrics").status_code == 401
    told = readers.get("/metrics", readers.admin).text + readers.installation.intake.log.read_text()
    assert 'realmate_rejected_tokens_total{reason="missing",scope="admin"}' in told
    for token in (readers.everyone, readers.shop, readers.admin):
        assert token not in told


def test_the_sender_reads_with_the_token_it_is_given(readers: Readers) -> None:
    def send(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "realmate", "send", "--source", "shop", "--url", readers.installation.intake.url],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    without = send()
    assert (without.returncode, "401 token_required" in without.stderr) == (1, True)
    assert send(REALMATE_TOKEN=readers.shop).returncode == 0


def test_the_command_makes_one_and_keeps_it_apart_from_its_hash() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "realmate", "token", "dashboard"], capture_output=True, text=True, timeout=60, check=True
    )
    token = made.stderr.strip().rpartition(" ")[2]
    assert made.stdout.strip() == tokens.entry("dashboard", token, ["read"], [])
    assert token not in made.stdout
