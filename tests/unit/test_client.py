"""The sender against scripted answers: what it does with a 503, a problem, a page that is no JSON."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from realmate.admin import client
from realmate.admin.client import SendError, Server, replay

PROBLEM = b'{"type": "about:blank", "status": 400, "code": "invalid_event", "detail": "data.id: not a UUID"}'
CREATED = b'{"status": "created", "conversation_id": "6a41b347-8d80-4ce9-84ba-7af66f369f6a"}'

Scripted = tuple[int, dict[str, str], bytes]


@dataclass
class Script:
    """The answers a server gives, in order, and what it was sent."""

    url: str
    received: list[bytes] = field(default_factory=list)


@contextmanager
def scripted(*answers: Scripted) -> Iterator[Script]:
    remaining = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.received.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, body = remaining.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The test's output is not a log."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        script = Script(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


class Clock:
    """The sender's time: a sleep takes none of ours, and is written down."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client, "time", clock)
    return clock


def test_a_503_is_sent_again_and_its_retry_after_honoured(clock: Clock) -> None:
    with scripted((503, {"Retry-After": "3"}, b"{}"), (503, {}, b"{}"), (201, {}, CREATED)) as server:
        assert replay(Server(server.url), [b'{"type": "NEW_CONVERSATION"}'])
    assert server.received == [b'{"type": "NEW_CONVERSATION"}'] * 3
    assert clock.sleeps == [3.0, 1.0]


def test_a_server_that_always_says_503_is_not_asked_for_ever(clock: Clock) -> None:
    with scripted(*[(503, {"Retry-After": "86400"}, b"{}")] * client.ATTEMPTS) as server:
        assert not replay(Server(server.url), [b"{}"])
    assert len(server.received) == client.ATTEMPTS
    assert max(clock.sleeps) == client.LONGEST_RETRY_AFTER_S


def test_lines_go_out_as_they_are_and_blank_ones_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [b"not json\n", b"\n", b"[1]\n", b'{"type": "CLOSE_CONVERSATION"}']
    with scripted(*[(400, {}, PROBLEM)] * 3) as server:
        assert not replay(Server(server.url), lines)
    assert server.received == [b"not json", b"[1]", b'{"type": "CLOSE_CONVERSATION"}']
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split(maxsplit=3) == ["1", "(not", "JSON)", "400 invalid_event: data.id: not a UUID"]
    assert shown[1].split() == ["3", "(no", "object)", *shown[0].split()[3:]]
    assert shown[2].split()[:3] == ["4", "CLOSE_CONVERSATION", "400"]
    assert shown[-1] == "3 sent: 3 answered 400"


def test_one_unwelcome_event_makes_the_whole_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted((201, {}, CREATED), (502, {}, b"<html>Bad Gateway</html>")) as server:
        assert not replay(Server(server.url), [b"{}", b"{}"])
    assert "502 <html>Bad Gateway</html>" in capsys.readouterr().out


def test_a_rate_spaces_the_events(clock: Clock) -> None:
    with scripted(*[(201, {}, CREATED)] * 3) as server:
        assert replay(Server(server.url), [b"{}"] * 3, rate=4)
    assert clock.sleeps == [0.0, 0.25, 0.25]


@pytest.mark.parametrize("url", ["no-url", "http://", "ftp://example.org"])
def test_a_url_that_is_none_is_told_in_one_line(url: str) -> None:
    with pytest.raises(SendError, match="cannot send to"):
        replay(Server(url), [b"{}"])


def test_a_byte_order_mark_before_the_lines_is_skipped() -> None:
    with scripted((201, {}, CREATED), (201, {}, CREATED)) as script:
        assert replay(Server(script.url), [b'\xef\xbb\xbf{"a":1}\r\n', b'{"b":2}\r\n'])
        assert script.received == [b'{"a":1}', b'{"b":2}']
    with scripted((201, {}, CREATED)) as script:
        assert replay(Server(script.url), [b"\xef\xbb\xbf\n", b'{"b":2}'])
        assert script.received == [b'{"b":2}']


def test_lines_in_utf_16_are_named() -> None:
    with scripted() as script, pytest.raises(SendError, match="UTF-16"):
        replay(Server(script.url), '{"a":1}\n'.encode("utf-16").splitlines(keepends=True))
