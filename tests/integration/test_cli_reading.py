"""`realmate list`, `show` and `tail`: the API on a person's terminal, and on its way to somebody else's webhook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import click
import pytest
from standardwebhooks.webhooks import Webhook

from installation import Installation, event, start_installation
from realmate.admin import reading
from realmate.domain.changes import EVENT_TYPES

TIMEOUT_S = 60


class Cli:
    """The command, against one installation, with a state directory of its own."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self.installation = installation
        self.environment = os.environ | {
            "REALMATE_URL": installation.intake.url,
            "XDG_STATE_HOME": str(directory / "state"),
            "COLUMNS": "160",
            "TZ": "UTC",
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("realmate"), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def told(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told(*arguments, "--json").splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "realmate", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def conversation(self, *contents: str) -> str:
        key = str(uuid4())
        assert self.installation.insist(event("NEW_CONVERSATION", id=key))[0] == 201
        for content in contents:
            message = event("NEW_MESSAGE", id=str(uuid4()), conversation_id=key, content=content)
            assert self.installation.insist(message)[0] == 202
        return key


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with start_installation(tmp_path_factory.mktemp("cli"), GROUP_WINDOW_S="600") as installation:
        give_up_at = time.monotonic() + 20
        while installation.ask("GET", "/conversations/")[0] != 200:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
        yield installation


@pytest.fixture
def cli(installation: Installation, tmp_path: Path) -> Cli:
    return Cli(installation, tmp_path)


def test_conversations_are_listed_as_a_table_and_as_json(cli: Cli) -> None:
    first, second = cli.conversation("Olá"), cli.conversation("Tem\nvaranda? \x1b[31m" + 10 * " Muito obrigado!")
    head, *rows = cli.told("list", "--limit", "2").splitlines()
    assert head.split() == ["CONVERSATION", "SOURCE", "STATUS", "AGE", "LAST", "MESSAGE"]
    assert [row.split()[0] for row in rows] == [second, first]
    assert r"< Tem\nvaranda? \x1b[31m" in rows[0]
    narrow = cli.run("list", "--limit", "2", COLUMNS="80").stdout.splitlines()[1:]
    assert [re.split(r"\s+", row)[:3] for row in narrow] == [[key, "default", "OPEN"] for key in (second, first)]
    assert max(map(len, narrow)) <= 80
    assert [each["id"] for each in cli.objects("list", "--limit", "2")] == [second, first]
    assert cli.objects("list", "--status", "CLOSED") == []
    assert "no such conversation" in cli.told("list", "--source", "nobody")
    assert len(cli.objects("list", "--limit", "1", "--since", "1h")) == 1


def test_more_conversations_than_a_page_has_are_listed(cli: Cli) -> None:
    made = [cli.conversation() for _ in range(205)]
    listed = [each["id"] for each in cli.objects("list", "--limit", "203")]
    assert listed == made[::-1][:203]
    assert len(cli.objects("list", "--limit", "100000")) >= 205


def test_one_conversation_is_shown(cli: Cli) -> None:
    key = cli.conversation("um", "dois", "três")
    shown = cli.told("show", key)
    assert f"{key}  OPEN" in shown
    assert re.findall(r"<\s+(\S+)", shown) == ["um", "dois", "três"]
    assert re.findall(r"<\s+(\S+)", cli.told("show", key, "--messages", "1")) == ["três"]
    [found] = cli.objects("show", key)
    assert [each["content"] for each in found["messages"]] == ["um", "dois", "três"]
    missing = cli.run("show", str(uuid4()))
    assert (missing.returncode, "There is no such conversation" in missing.stderr) == (1, True)


def test_what_changes_is_told_until_it_is_stopped(cli: Cli) -> None:
    key = str(uuid4())
    tail = cli.start("tail", "--conversation", key, "--after", "oldest")
    assert tail.stdout is not None
    cli.installation.insist(event("NEW_CONVERSATION", id=key))
    message = event("NEW_MESSAGE", id=str(uuid4()), conversation_id=key, content="linha\num")
    cli.installation.insist(message)
    lines = [tail.stdout.readline() for _ in range(2)]
    assert re.fullmatch(rf"[\d: -]{{19}}  default  {key}  conversation.opened\n", lines[0])
    assert lines[1].endswith("message.received  linha\\num\n")
    tail.send_signal(2)
    tail.communicate(timeout=TIMEOUT_S)
    assert tail.returncode == 0


INTERRUPTED_IN_A_FINALIZER = """
import signal
import realmate.admin.tail
from realmate.cli import main

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def follow(*_, **__):
    Finalized()
    raise SystemExit(3)

realmate.admin.tail.follow = follow
main(["tail"])
"""


def test_an_interrupt_ends_it_even_where_python_drops_exceptions() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IN_A_FINALIZER], check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0


def test_a_name_remembers_the_place(cli: Cli) -> None:
    options = ("tail", "--name", "crm", "--type", "conversation.opened", "--until-caught-up")
    assert cli.objects(*options) == []
    made = [cli.conversation() for _ in range(3)]
    time.sleep(0.5)  # until they have their positions
    assert [each["conversation_id"] for each in cli.objects(*options)] == made
    assert cli.objects(*options) == []
    assert len(cli.objects("tail", "--since", "1h", "--until-caught-up")) >= 3
    assert cli.objects("tail", "--since", "2999-01-01", "--until-caught-up") == []


class Receiver:
    """Somebody's webhook, which fails at first."""

    def __init__(self) -> None:
        receiver = self
        self.bodies: list[tuple[dict[str, str], bytes]] = []
        self.failures = 2

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.failures -= 1
                self.send_response(500 if receiver.failures >= 0 else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's signature)
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_events_are_sent_on_signed_in_order_and_until_they_are_taken(cli: Cli) -> None:
    options = ("tail", "--name", "forward", "--type", "conversation.opened", "--until-caught-up")
    cli.told(*options)
    made = [cli.conversation() for _ in range(2)]
    time.sleep(0.5)
    with Receiver() as receiver:
        done = cli.run(*options, "--forward-to", receiver.url)
        assert done.returncode == 0, done.stderr
        [secret] = re.findall(r"whsec_\S+", done.stderr)
        assert "500" in done.stderr
        taken = [json.loads(body) for _, body in receiver.bodies]
        assert [each["conversation_id"] for each in taken] == [made[0], made[0], *made]
        for headers, body in receiver.bodies:
            Webhook(secret).verify(body, headers)
        assert [headers["webhook-id"] for headers, _ in receiver.bodies] == [each["id"] for each in taken]
        cli.conversation()
        time.sleep(0.5)
        again = cli.run(*options, "--forward-to", receiver.url)
        assert "whsec_" not in again.stderr, "the secret is kept, and shown only once"
        Webhook(secret).verify(receiver.bodies[-1][1], receiver.bodies[-1][0])
    kept = next(Path(cli.environment["XDG_STATE_HOME"]).rglob("tail-forward.json"))
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--url", "http://127.0.0.1:9"), "nothing answers at http://127.0.0.1:9"),
        (("list", "--url", "nowhere"), "cannot read from nowhere"),
        (("tail", "--after", "rubbish"), "after is no cursor of this API"),
        (("tail", "--name", "../x"), "a name has letters"),
        (("tail", "--forward-to", "file:///x"), "no http URL"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = cli.run(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_types_are_those_that_there_are() -> None:
    [option] = [each for each in reading.tail.params if each.name == "types"]
    assert isinstance(option.type, click.Choice)
    assert set(option.type.choices) == set(EVENT_TYPES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_completion(cli: Cli, shell: str) -> None:
    script = cli.told("completion", shell)
    assert "_REALMATE_COMPLETE" in script
    completed = cli.run(COMP_WORDS="realmate li", COMP_CWORD="1", _REALMATE_COMPLETE="bash_complete")
    assert "list" in completed.stdout
