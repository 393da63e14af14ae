"""Whatever is wrong in the environment, a command says it in one line, and ends with 1 or 2.

Wrong settings of every kind, and terminals that lack letters, obey what strangers wrote, or go away.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

TIMEOUT_S = 60
STORES = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:9/db", "REDIS_URL": "redis://:hush@127.0.0.1:9/0"}
RUN = (["run", "webhook"], ["run", "conversations"], ["run", "query"])
NEEDS_SETTINGS = (*RUN, ["up"], ["migrate", "--wait", "0"], ["rejections", "list"], ["erase", "history"])

WRONG_URLS = [
    ("REDIS_URL", "redis://:hush@127.0.0.1:port/0", "REDIS_URL: its port must be a number"),
    ("REDIS_URL", "redis://:hush@127.0.0.1:70000/0", "REDIS_URL: its port must be a number"),
    ("REDIS_URL", "redis://127.0.0.1/staging", "REDIS_URL: its database must be a number"),
    ("REDIS_URL", "redis://127.0.0.1/0?timeout=3", "REDIS_URL: has a parameter that is not known here"),
    ("REDIS_URL", "redis://127.0.0.1/0?db=x", "REDIS_URL: its parameter db must be"),
    ("REDIS_URL", "rediss://127.0.0.1/0?ssl_cert_reqs=no", "REDIS_URL: its parameter ssl_cert_reqs must be none or"),
    ("REDIS_URL", "redis://:hush@/0", "REDIS_URL: names no host"),
    ("REDIS_URL", "redis://[::1/0", "REDIS_URL: is no URL"),
    ("REDIS_URL", "redis://:hush%zz@127.0.0.1/0", "REDIS_URL: has a % without"),
    ("REDIS_URL", "redis://:hush hush@127.0.0.1/0", "REDIS_URL: has white space within"),
    ("REDIS_URL", "redis://a,b/0", "REDIS_URL: names several hosts"),
    ("REDIS_URL", "unix://", "REDIS_URL: names no socket"),
    ("TRANSPORT_URL", "amqp://u:hush@127.0.0.1:port//", "TRANSPORT_URL: its port must be a number"),
    ("TRANSPORT_URL", "amqp://u:hush@//", "TRANSPORT_URL: names no host"),
    ("TRANSPORT_URL", "amqp://u:hush/x@127.0.0.1//", "TRANSPORT_URL: its port must be a number"),
    ("TRANSPORT_URL", "redis://127.0.0.1/staging", "TRANSPORT_URL: its database must be a number"),
    ("DATABASE_URL", "postgresql://u:hush@127.0.0.1:port/db", "DATABASE_URL: "),
    ("DATABASE_URL", "postgresql://[::1/db", "DATABASE_URL: "),
    ("DATABASE_URL", "mysql://u:hush@127.0.0.1/db", "DATABASE_URL: must start with postgresql://"),
    ("HTTP_READ_TIMEOUT_S", "inf", "HTTP_READ_TIMEOUT_S: "),
    ("GROUP_WINDOW_S", "nan", "GROUP_WINDOW_S: "),
    ("PORT", "http", "PORT: "),
    ("LOG_LEVEL", "LOUD", "LOG_LEVEL: "),
]


def environment(**settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_URL") and name != "HOST"}
    return {**inherited, **STORES, "LOG_LEVEL": "ERROR", **settings}


def realmate(*arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    return given(b"", *arguments, **settings)


def given(stdin: bytes, *arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "realmate", *arguments],
        input=stdin,
        env=environment(**settings),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """What the command says; it is short, no traceback, and shows no password."""
    told = done.stderr.decode()
    assert done.returncode in {1, 2}, told
    assert len(told.splitlines()) == 1, told
    assert "Traceback" not in told
    assert "hush" not in told
    return told


@pytest.mark.parametrize(("name", "value", "complaint"), WRONG_URLS)
def test_a_wrong_setting_is_one_line(name: str, value: str, complaint: str) -> None:
    assert complaint in one_line(realmate("rejections", "list", **{name: value}))


@pytest.mark.parametrize("command", NEEDS_SETTINGS, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value"), [("REDIS_URL", "redis://h:port/0"), ("DATABASE_URL", "postgresql://h:port/db")]
)
def test_every_command_says_it_in_the_same_way(command: list[str], name: str, value: str, tmp_path: Path) -> None:
    done = realmate(*command, REALMATE_DATA_DIR=str(tmp_path / "data"), PORT="0", **{name: value})
    assert f"{name}: " in one_line(done)


@pytest.mark.parametrize("command", [["run", "webhook"], ["up"], ["operator", "run"]], ids=" ".join)
@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "two..dots", "192.0.2.1"])
def test_a_host_that_is_no_address_of_this_machine_is_named(command: list[str], host: str, tmp_path: Path) -> None:
    done = realmate(*command, HOST=host, PORT="18999", ADMIN_PORT="18998", REALMATE_DATA_DIR=str(tmp_path))
    assert "HOST must be an address of this machine" in one_line(done)


def test_blanks_and_line_ends_around_a_setting_do_not_count() -> None:
    done = realmate("migrate", "--wait", "0", DATABASE_URL=f" {STORES['DATABASE_URL']}\n", PORT=" 8000\r\n")
    assert "refused" in one_line(done)


@pytest.mark.parametrize("place", ["/dev/null/data", "/proc/data"])
def test_a_data_directory_that_cannot_be_made_is_named(place: str) -> None:
    without = {"DATABASE_URL": "", "REDIS_URL": ""}
    assert place in one_line(realmate("up", REALMATE_DATA_DIR=place, PORT="0", **without))


@pytest.mark.parametrize(
    "command",
    [["send"], ["replay", "--send"], ["rejections", "show", "1"], ["erase", "source", "x", "--yes"]],
    ids=" ".join,
)
def test_a_store_or_a_server_that_is_away_is_one_line(command: list[str]) -> None:
    urls = ["--url", "http://127.0.0.1:9"] if command[0] == "send" else []
    one_line(realmate(*command, *urls))


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://[::1", "127.0.0.1:8000", "http://", "http://a..b/"])
def test_a_url_that_is_none_is_one_line(url: str) -> None:
    one_line(realmate("send", "--url", url))


@pytest.mark.parametrize("token", ["hush hush", "hush\nX-Header: 1", "hush\u00e9"])
def test_a_token_that_is_none_is_one_line(token: str) -> None:
    assert "token" in one_line(realmate("send", "--url", "http://127.0.0.1:9", "--token", token))


# --- terminals ---

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\u2028\r"


class Hostile(BaseHTTPRequestHandler):
    """A server whose answers want to drive the terminal of who reads them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"code": HOSTILE, "detail": HOSTILE, "errors": 5}, ensure_ascii=False).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The test's output is not a log."""


@pytest.fixture
def hostile_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Hostile) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "terminal",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
@pytest.mark.parametrize("command", [["send"], ["--help"], ["send", "--help"]], ids=" ".join)
def test_a_terminal_without_a_letter_shows_it_escaped(
    command: list[str], terminal: dict[str, str], hostile_url: str
) -> None:
    arguments = [*command, "--url", hostile_url] if command == ["send"] else command
    done = realmate(*arguments, **terminal)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (1 if command == ["send"] else 0)
    if command == ["send"]:
        # click itself takes ASCII for UTF-8 that nobody named.
        assert (b"\\u2192" if "latin-1" in terminal.values() else b"") in done.stdout


def test_what_a_stranger_wrote_does_not_drive_the_terminal(hostile_url: str) -> None:
    event = json.dumps({"type": HOSTILE}, ensure_ascii=False).replace("\\u001b", "\\u001b").encode()
    shown = given(event, "send", "--url", hostile_url, "-").stdout.decode()
    assert "x1b]0;owned" in shown
    assert [character for character in HOSTILE if not character.isprintable() and character in shown] == []


@pytest.mark.parametrize("command", [["--help"], ["send", "--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_traceback(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "realmate", *command],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=False,
    )
    os.close(writer)
    assert b"Traceback" not in done.stderr


def _as_a_shell_does() -> None:
    """The terminal becomes the process's own. Ctrl-C is heard, although tests in the background ignore it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_at_a_prompt_is_no_traceback() -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "realmate", "erase", "source", "shop"],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment(),
        start_new_session=True,
        preexec_fn=_as_a_shell_does,  # noqa: PLW1509 (no thread of ours holds a lock here)
    )
    os.close(child)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(parent, 1000)
    time.sleep(0.1)
    os.write(parent, b"\x03")
    assert process.wait(TIMEOUT_S) == 1
    shown += os.read(parent, 1000)
    assert b"Traceback" not in shown
    assert b"Aborted" in shown
    os.close(parent)
