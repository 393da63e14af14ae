"""The commands for operators ask a console with --url, and print then what they print with DATABASE_URL alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from installation import Installation, event, start_installation
from reading import begun_with_tokens, tokens_of
from realmate.local.ports import free_port

SOURCES = "[sources.default]\n[sources.shop]\n[sources.other]\n[sources.gone]\n"
HOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "admin": (["admin", "read"], []),
    "operator": (["operate"], []),
    "operator of two": (["operate"], ["shop", "other"]),
    "reader": (["read"], []),
}
Done = subprocess.CompletedProcess[str]


class Cli:
    """The command, against one installation: by its console, or at its database."""

    def __init__(self, installation: Installation, directory: Path, held: dict[str, str]) -> None:
        self.installation = installation
        self.url = installation.intake.url
        self.held = held
        known = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        self.nowhere = known | {"REALMATE_DATA_DIR": str(directory / "none"), "TZ": "UTC"}
        self.database = self.nowhere | {
            "DATABASE_URL": installation.postgres.url,
            "SOURCES_FILE": str(directory / "sources.toml"),
        }

    def at_console(self, *arguments: str, holder: str = "admin") -> Done:
        return run([*arguments, "--url", self.url], self.nowhere | {"REALMATE_TOKEN": self.held[holder]})

    def at_database(self, *arguments: str) -> Done:
        return run(arguments, self.database)

    def both(self, *arguments: str) -> str:
        """Run it both ways. What they print is the same."""
        by_console, by_database = self.at_console(*arguments), self.at_database(*arguments)
        assert (by_console.returncode, by_console.stdout, by_console.stderr) == (
            by_database.returncode,
            by_database.stdout,
            by_database.stderr,
        )
        return by_console.stdout + by_console.stderr

    def post(self, source: str, body: bytes) -> int:
        return requests.post(f"{self.url}/webhook/{source}/", data=body, timeout=30).status_code

    def open(self, key: str, source: str = "shop") -> None:
        assert self.post(source, encoded("NEW_CONVERSATION", id=key)) == 201

    def rejected(self, count: int, source: str = "shop") -> str:
        """Have events rejected that could come in later; the id of their conversation."""
        key = str(uuid4())
        for _ in range(count):
            assert self.post(source, encoded("CLOSE_CONVERSATION", id=key)) == 400
        return key

    def listed(self, key: str) -> list[dict[str, Any]]:
        done = self.at_console("rejections", "list", "--conversation", key, "--json", "--limit", "1000")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {self.held['admin']}"}
        return requests.request(method, self.url + path, headers=headers, timeout=30).json()


def run(arguments: Any, environment: dict[str, str]) -> Done:
    command = [sys.executable, "-m", "realmate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def one_line(done: Done) -> str:
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def encoded(kind: str, **data: str) -> bytes:
    return json.dumps(event(kind, **data)).encode()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    directory = tmp_path_factory.mktemp("console")
    held, entries = tokens_of(HOLDERS)
    with begun_with_tokens(
        directory, SOURCES, entries, held["reader"], console=True, HOLD_TOLERANCE_S="0.5"
    ) as installation:
        yield Cli(installation, directory, held)


# --- rejections ---


def test_rejections_are_listed_the_same_with_every_filter(cli: Cli) -> None:
    key = cli.rejected(3)
    cli.post("other", b"no json \xc3\xa9")
    table = cli.both("rejections", "list", "--conversation", key)
    assert "3 of 3 shown: 3 conversation_not_found" in table
    assert "2 of 3 shown" in cli.both("rejections", "list", "--conversation", key, "--limit", "2")
    assert "\n0 of 0 shown" in cli.both("rejections", "list", "--source", "nobody")
    codes = ("--code", "invalid_json", "--code", "conversation_not_found")
    assert "invalid_json" in cli.both("rejections", "list", "--source", "other", *codes, "--since", "1h")
    assert cli.both("rejections", "list", "--until", "2020-01-01", "--json") == ""
    objects = [
        json.loads(line) for line in cli.both("rejections", "list", "--conversation", key, "--json").splitlines()
    ]
    assert [each["id"] for each in objects] == sorted(each["id"] for each in objects), "the newest last"
    assert all(key in each["body"] for each in objects)


def test_more_rejections_than_a_page_has_are_listed(cli: Cli) -> None:
    key = cli.rejected(203)
    assert "202 of 203 shown" in cli.both("rejections", "list", "--conversation", key, "--limit", "202")


def test_a_token_for_several_sources_sees_how_many_there_are_of_them(cli: Cli) -> None:
    key = cli.rejected(2)
    done = cli.at_console("rejections", "list", "--conversation", key, "--limit", "1", holder="operator of two")
    assert "1 of 2 shown: 2 conversation_not_found" in done.stderr


def test_one_rejection_is_shown_the_same_even_where_its_event_is_no_text(cli: Cli) -> None:
    cli.post("other", b"{\xff\x1b")
    listed = cli.at_database("rejections", "list", "--source", "other", "--limit", "1", "--json")
    number = str(json.loads(listed.stdout)["id"])
    assert "invalid_json" in cli.both("rejections", "show", number)
    assert json.loads(cli.both("rejections", "show", number, "--json"))["body"] == "{\\xff\x1b"
    shown = [
        subprocess.run(
            [sys.executable, "-m", "realmate", "rejections", "show", number, "--body", *where],
            env=environment,
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for where, environment in (
            (["--url", cli.url, "--token", cli.held["operator"]], cli.nowhere),
            ([], cli.database),
        )
    ]
    assert shown == [b"{\xff\x1b\n"] * 2
    assert "there is no rejection 999999999;" in cli.both("rejections", "show", "999999999")


# --- replay ---


def test_a_replay_is_counted_the_same_and_sent_by_the_console(cli: Cli) -> None:
    key = cli.rejected(2)
    dry = cli.both("replay", "--conversation", key, "--url", cli.url)
    assert "2 sent as they are (conversation_not_found)" in dry
    assert "This was a dry run" in dry
    cli.open(key)
    sent = cli.at_console("replay", "--source", "shop", "--conversation", key, "--send")
    assert "1 answered 200 closed, 1 answered 400 conversation_already_closed" in sent.stdout
    assert sent.returncode == 1, "one answer was not 2xx"
    assert [each["replay_status"] for each in cli.listed(key)] == [200, 400, None], "the second was rejected anew"
    assert "(replayed: 200)" in cli.both("rejections", "list", "--conversation", key)
    assert "Nothing to send." in cli.both("replay", "--conversation", key)
    again = cli.at_console("replay", "--conversation", key, "--again", "--send")
    assert "1 answered 200 closed" in again.stdout, "by their keys"


def test_the_url_of_a_replay_is_a_console_s_without_a_database_or_with_a_token(cli: Cli) -> None:
    def jobs() -> int:
        items = cli.ask("/admin/replays/?limit=100")["items"]
        return sum(each["filter"]["conversation"] == key for each in items)

    key = cli.rejected(1)
    options = ("replay", "--conversation", key, "--send", "--again", "--url", cli.url)
    assert "answered 400" in run(options, cli.database | {"REALMATE_TOKEN": "of another"}).stdout
    assert jobs() == 0
    assert "answered 400" in run([*options, "--token", cli.held["admin"]], cli.database).stdout
    assert jobs() == 1


def test_ctrl_c_leaves_the_replay_to_the_console_and_says_how_to_stop_it(cli: Cli) -> None:
    key = cli.rejected(8)
    command = [sys.executable, "-m", "realmate", "replay", "--conversation", key, "--send", "--rate", "1"]
    environment = cli.nowhere | {"REALMATE_TOKEN": cli.held["admin"], "PYTHONUNBUFFERED": "1"}
    replay = subprocess.Popen(
        [*command, "--url", cli.url], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert replay.stdout is not None
    while "Sending" not in replay.stdout.readline():
        assert replay.poll() is None
    time.sleep(1)
    replay.send_signal(signal.SIGINT)
    _, said = replay.communicate(timeout=60)
    assert replay.returncode == 130
    assert "The console goes on without this command." in said
    assert "Traceback" not in said
    [path] = re.findall(r"curl -X DELETE http://[^/]+(\S+)", said)
    assert cli.ask(path)["state"] == "running"
    assert cli.ask(path, "DELETE")["state"] == "cancelled"


# --- erasing, export ---


def test_a_conversation_is_exported_the_same_to_stdout_and_to_a_file(cli: Cli, tmp_path: Path) -> None:
    key = cli.rejected(1)
    cli.open(key)
    message = encoded("NEW_MESSAGE", id=str(uuid4()), conversation_id=key, content="Olá")
    assert cli.post("shop", message) == 202
    assert cli.post("shop", encoded("CLOSE_CONVERSATION", id=key)) == 200, "nothing of it changes any more"
    document = json.loads(cli.both("export", key, "--source", "shop"))
    assert "Olá" in [each["content"] for each in document["messages"]]
    assert [each["code"] for each in document["rejections"]] == ["conversation_not_found"]
    written = cli.at_console("export", key, "--source", "shop", "--output", str(tmp_path / "it.json"))
    assert (written.returncode, written.stdout) == (0, "")
    assert json.loads((tmp_path / "it.json").read_bytes()) == document
    assert f"source other has nothing of conversation {key}" in one_line(
        cli.at_console("export", key, "--source", "other")
    )
    hint = "; to export it, say whose it is: --source shop"
    assert one_line(cli.at_database("export", key)).endswith(f"{key}{hint}\n")


def test_a_conversation_is_erased_by_the_console(cli: Cli) -> None:
    key = cli.rejected(1)
    cli.open(key)
    done = cli.at_console("erase", "conversation", key, "--source", "shop", "--yes")
    assert done.stdout == "Erased: 1 conversations, 0 messages, 1 rejections.\n"
    again = cli.both("erase", "conversation", key, "--source", "shop", "--yes")
    assert again == f"Error: source shop has nothing of conversation {key}\n"
    unknown = cli.both("erase", "conversation", key, "--source", "nobody", "--yes")
    assert unknown == "Error: no event of a source nobody ever came\n"
    assert "conversation  1 conversations, 0 messages, 1 rejections" in cli.both("erase", "history")


def test_a_source_is_erased_by_the_console(cli: Cli) -> None:
    for _ in range(2):
        cli.open(str(uuid4()), "gone")
    done = cli.at_console("erase", "source", "gone", "--yes")
    assert done.stdout == "Erasing gone\nErased: 2 conversations, 0 messages, 0 rejections.\n"
    assert "Error: no event of a source nobody ever came" in cli.both("erase", "source", "nobody", "--yes")
    assert "Nothing to erase: " in cli.both("erase", "source", "nobody", "--if-exists", "--yes")


def test_a_console_that_is_open_on_this_machine_needs_no_token(tmp_path: Path) -> None:
    with start_installation(tmp_path, console=True) as installation:
        body = encoded("CLOSE_CONVERSATION", id=str(uuid4()))
        assert requests.post(f"{installation.intake.url}/webhook/", data=body, timeout=30).status_code == 400
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        sent = run(["replay", "--send", "--url", installation.intake.url], environment)
        assert "1 answered 400 conversation_not_found" in sent.stdout, sent


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "token", "said"),
    [
        (("rejections", "list"), "rmt_wrong", "401: This token is not, or not any more, known here."),
        (("rejections", "list"), None, "401: the server wants a token; give one with --token or REALMATE_TOKEN"),
        (("rejections", "list"), "reader", "403: this token may not do that: it needs the scope operate"),
        (("replay", "--send"), "reader", "403: this token may not do that: it needs the scope operate"),
        (("export", str(uuid4())), "operator", "403: this token may not do that: it needs the scope admin"),
        (("erase", "source", "shop", "--yes"), "operator", "403: this token may not do that: it needs the scope admin"),
        (("replay", "--send"), "operator of two", "400: source must name one of your sources: other, shop"),
        (("replay", "--source", "default"), "operator of two", "400: source is no source that this token may see"),
    ],
)
def test_what_a_token_may_not_do_is_said_in_one_line(
    cli: Cli, arguments: tuple[str, ...], token: str | None, said: str
) -> None:
    cli.rejected(1)
    environment = cli.nowhere | ({} if token is None else {"REALMATE_TOKEN": cli.held.get(token, token)})
    assert one_line(run([*arguments, "--url", cli.url], environment)) == f"Error: {said}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("rejections", "list"),
        ("rejections", "show", "1"),
        ("replay",),
        ("erase", "source", "x", "--yes"),
        ("export", str(uuid4())),
    ],
)
def test_who_is_no_console_is_told_from_a_console_that_has_nothing(cli: Cli, arguments: tuple[str, ...]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    said = one_line(run([*arguments, "--url", nobody], cli.nowhere))
    assert said == f"Error: nothing answers at {nobody}; name another server with --url\n"
    other = cli.installation.state[0].url
    said = one_line(run([*arguments, "--url", other], cli.nowhere))
    assert said == f"Error: what answers at {other} is no console; name another server with --url\n"


def test_without_a_place_the_commands_ask_for_one(cli: Cli) -> None:
    for arguments in (("rejections", "list"), ("replay", "--send"), ("export", str(uuid4())), ("erase", "history")):
        assert "set it, or name a console with --url" in one_line(run(arguments, cli.nowhere))
    said = one_line(run(["rejections", "list", "--token", "x"], cli.database))
    assert said == "Error: --token is for a console; say with --url where it is\n"


class Busy:
    """A console that cannot answer at once."""

    def __init__(self, status: int) -> None:
        asked: list[float] = []
        self.asked = asked
        answers = iter([status, status])

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(time.monotonic())
                status = next(answers, 200)
                problem = {"code": "unavailable", "detail": "The database does not answer now; ask again."}
                body = json.dumps(problem if status != 200 else {"items": [], "next": None}).encode()
                self.send_response(status)
                self.send_header("Retry-After", "2")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's signature)
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_console_is_asked_again_when_it_says(status: int, request: pytest.FixtureRequest) -> None:
    busy = Busy(status)
    threading.Thread(target=busy.server.serve_forever).start()
    closing: list[Callable[[], None]] = [busy.server.shutdown, busy.server.server_close]
    for close in reversed(closing):
        request.addfinalizer(close)
    done = run(["erase", "history", "--url", busy.url], dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("The database does not answer now; ask again.") == 2
    assert "Nothing was ever erased." in done.stderr
    pauses = [later - earlier for earlier, later in zip(busy.asked, busy.asked[1:], strict=False)]
    assert all(2 <= pause < 4 for pause in pauses), pauses
