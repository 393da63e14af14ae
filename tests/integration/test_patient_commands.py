"""With --wait each command waits for the server that it needs: in a new pod, the first connections may be rejected."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import environment_of, event, start_installation
from realmate.cli import main
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

WAIT = ("--wait", "60")
UNREACHABLE = "Not yet ("
CONVERSATION = str(uuid.uuid4())
OF_THE_DATABASE = [
    ["migrate"],
    ["rejections", "list"],
    ["rejections", "show", "1"],
    ["erase", "history"],
    ["erase", "source", "shop", "--if-exists", "--yes"],
    ["erase", "conversation", CONVERSATION, "--yes"],
    ["export", CONVERSATION],
    ["endpoints", "list"],
]
"""Each needs nothing but the database."""
NOT_WAITING = {"run", "up", "token", "completion", "operator run", "endpoints test", "trigger"}
"""Services wait by themselves, and for ever (test_waiting.py). A token needs no server, and the last two ask a receiver
that is not ours."""
OF_A_NAMED_ENDPOINT = {f"endpoints {name}" for name in ("show", "pause", "resume", "recover")}
"""These wait as `endpoints list` does, after they have found the name in the file."""


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "realmate", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = command.communicate(timeout=120)
    return command.returncode, out, err


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres") as postgres:
        Migration({**os.environ, "DATABASE_URL": postgres.url}, tmp_path / "migrate.log").start()
        yield postgres


def first_line(command: subprocess.Popen[str]) -> str:
    """Of what it says on stderr."""
    assert command.stderr is not None
    return command.stderr.readline()


def test_every_command_that_needs_a_server_can_wait() -> None:
    waiting: set[str] = set()
    others: set[str] = set()
    for name, command in main.commands.items():
        for path, each in getattr(command, "commands", {}).items() or {"": command}.items():
            options = {option for parameter in each.params for option in parameter.opts}
            (waiting if "--wait" in options else others).add(f"{name} {path}".strip())
    assert others == NOT_WAITING
    assert waiting == {
        " ".join(word for word in words[:2] if word.isalpha()) for words in OF_THE_DATABASE
    } | OF_A_NAMED_ENDPOINT | {
        "send",
        "list",
        "show",
        "tail",
        "replay",
        "operator release",
    }


def test_commands_wait_for_a_database_that_does_not_answer_yet(postgres: Postgres) -> None:
    environment = {**os.environ, "DATABASE_URL": postgres.url}
    postgres.stop()
    commands = [start([*arguments, *WAIT], environment) for arguments in OF_THE_DATABASE]
    assert all(first_line(command).startswith(UNREACHABLE) for command in commands)
    postgres.start()
    outcomes = [told(command) for command in commands]
    codes = dict(zip(map(" ".join, OF_THE_DATABASE), (code for code, _, _ in outcomes), strict=True))
    assert codes.pop("rejections show 1") == 1  # there is none
    assert codes.pop(f"erase conversation {CONVERSATION} --yes") == 1  # nor this one
    assert codes.pop(f"export {CONVERSATION}") == 1
    assert set(codes.values()) == {0}, outcomes


def test_without_it_they_say_at_once_what_is_wrong(postgres: Postgres) -> None:
    postgres.stop()
    code, _, err = told(start(["erase", "history"], {**os.environ, "DATABASE_URL": postgres.url}))
    assert code == 1
    assert "the database is not reachable" in err
    assert UNREACHABLE not in err


def test_replay_waits_for_the_database_and_for_the_server(tmp_path: Path) -> None:
    with start_installation(tmp_path, HOLD_TOLERANCE_S="0.2") as installation:
        message = event("NEW_MESSAGE", id=str(uuid.uuid4()), content="Oi", conversation_id=str(uuid.uuid4()))
        assert installation.ask("POST", "/webhook/", message)[0] == 202
        time.sleep(2)
        environment = {**os.environ, "DATABASE_URL": installation.postgres.url, "REALMATE_WAIT_S": "60"}
        installation.intake.kill()
        installation.postgres.stop()
        command = start(["replay", "--send", "--url", f"http://127.0.0.1:{installation.intake.port}"], environment)
        assert "the database is not reachable" in first_line(command)
        installation.postgres.start()
        while "nothing answers at" not in first_line(command):
            assert command.poll() is None
        installation.intake.start()
        code, out, err = told(command)
        assert code == 0, (out, err)


def test_send_and_list_wait_for_a_server_that_starts(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as postgres, Valkey(tmp_path / "valkey") as valkey:
        environment = environment_of(postgres, valkey, tmp_path) | {"GROUP_WINDOW_S": "0.5"}
        Migration(environment, tmp_path / "migrate.log").start()
        webhook, query = free_port(), free_port()
        urls = ["--url", f"http://127.0.0.1:{webhook}", "--read-url", f"http://127.0.0.1:{query}"]
        command = start(["send", *urls, *WAIT, "--say", "Oi"], {**os.environ})
        listing = start(["list", "--url", f"http://127.0.0.1:{query}", *WAIT], {**os.environ})
        assert f"nothing answers at http://127.0.0.1:{webhook}" in first_line(command)
        assert f"nothing answers at http://127.0.0.1:{query}" in first_line(listing)
        writing = Service(["webhook", "conversations"], environment | {"PORT": str(webhook)}, tmp_path / "writing.log")
        with writing:
            while f"nothing answers at http://127.0.0.1:{query}" not in first_line(command):
                assert command.poll() is None
            with Service(["query"], environment | {"PORT": str(query)}, tmp_path / "query.log"):
                outcomes = [told(command), told(listing)]
        assert [code for code, _, _ in outcomes] == [0, 0], outcomes
