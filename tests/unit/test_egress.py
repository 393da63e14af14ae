"""Where Realmate sends nothing, and how much it reads of an answer."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from realmate.egress.client import RequestFailed, RequestForbidden, post
from realmate.egress.connections import Connections, HttpConnection, Place


def test_all_addresses_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: object) -> list[object]:
        assert host == "both.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr("realmate.egress.client.socket.getaddrinfo", resolve)
    with pytest.raises(RequestForbidden, match=r"both\.example is 10\.0\.0\.1"):
        post("https://both.example/", b"", {}, timeout_s=1)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["localhost", "127.1", "[::1]", "2130706433", "0x7f.1"])
def test_this_machine_by_any_name_is_forbidden(scheme: str, host: str) -> None:
    with pytest.raises(RequestForbidden):
        post(f"{scheme}://{host}/", b"", {}, timeout_s=2)


def test_a_name_that_is_none_is_a_failure() -> None:
    with pytest.raises(RequestFailed):
        post("https://nobody.invalid/", b"", {}, timeout_s=5)


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/path?query=1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_answer_comes_whole() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(503)
        handler.send_header("Retry-After", "7")
        handler.end_headers()
        handler.wfile.write(handler.path.encode())

    with serving(answer) as url:
        assert post(url, b"", {}, timeout_s=5, allow_private=True)[:3] == (503, b"/path?query=1", 7.0)


def test_an_answer_without_end_is_cut_off() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    with serving(answer) as url, pytest.raises(RequestFailed, match="larger"):
        post(url, b"", {}, timeout_s=10, allow_private=True)


def answer_raw(content: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_an_interim_answer_is_not_the_answer(interim: bytes) -> None:
    content = b"HTTP/1.1 %s\r\nLink: </x>\r\n\r\n" % interim * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOi"
    with serving(answer_raw(content)) as url:
        assert post(url, b"", {}, timeout_s=5, allow_private=True)[:2] == (200, b"Oi")


def test_compressed_content_is_not_unpacked() -> None:
    content = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone"
    with serving(answer_raw(content)) as url:
        assert post(url, b"", {}, timeout_s=5, allow_private=True).body == b"none"


@pytest.mark.parametrize(
    ("retry_after", "expected_s"),
    [
        ("7", 7),
        ("", 0),
        ("soon", 0),
        ("-1", 0),
        ("٣", 0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 4_102_444_800),
    ],
)
def test_retry_after_is_seconds_or_a_date(retry_after: str, expected_s: float) -> None:
    content = f"HTTP/1.1 503 X\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode()
    with serving(answer_raw(content)) as url:
        found_s = post(url, b"", {}, timeout_s=5, allow_private=True).retry_after_s
    expected_s -= time.time() if expected_s > 1_000_000 else 0
    assert found_s == pytest.approx(expected_s, abs=60)


def test_an_address_that_rejects_is_not_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is ::1 first on many machines, and a service may listen on 127.0.0.1 alone."""

    ask = socket.getaddrinfo

    def resolve(host: str, port: int, *also: Any, **named: Any) -> list[Any]:
        if host != "two.example":
            return ask(host, port, *also, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.9.9.9", "127.0.0.1")]

    with serving(answer_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOi")) as url:
        monkeypatch.setattr("realmate.egress.client.socket.getaddrinfo", resolve)
        answer = post(url.replace("127.0.0.1", "two.example"), b"", {}, timeout_s=5, allow_private=True)
    assert answer.body == b"Oi"


def test_a_redirect_is_not_followed() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "http://127.0.0.1:1/")
        handler.end_headers()

    with serving(answer) as url:
        assert post(url, b"", {}, timeout_s=5, allow_private=True).status == 307


def test_nobody_listens() -> None:
    began = time.monotonic()
    with pytest.raises(RequestFailed):
        post("http://127.0.0.1:1/", b"", {}, timeout_s=5, allow_private=True)
    assert time.monotonic() - began < 5


class Counting(http.server.ThreadingHTTPServer):
    """It keeps connections open, and counts them."""

    connections = 0
    closes_after_answer = False

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


@contextmanager
def keeping(content: bytes = b"Oi") -> Iterator[tuple[str, Counting]]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server: Counting
        timeout = 10

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.server.closes_after_answer

        def log_message(self, *_: object) -> None:
            pass

    server = Counting(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_next_request_goes_over_the_same_connection() -> None:
    with keeping() as (url, server):
        for _ in range(5):
            assert post(url, b"x", {}, timeout_s=5, allow_private=True).body == b"Oi"
        assert server.connections == 1


def test_a_kept_connection_that_the_server_has_closed_loses_no_request() -> None:
    with keeping() as (url, server):
        server.closes_after_answer = True
        for _ in range(5):
            assert post(url, b"x", {}, timeout_s=5, allow_private=True).status == 200
        assert server.connections == 5


def test_of_a_large_answer_the_first_bytes_are_enough() -> None:
    with keeping(b"x" * 100_000) as (url, server):
        for _ in range(2):
            assert post(url, b"", {}, timeout_s=5, allow_private=True, first_bytes=4096).body == b"x" * 4096
        assert server.connections == 2, "what was not read is in the way of the next answer"


def without_tls(_: Connections, place: Place, *, connect_timeout_s: float) -> HttpConnection:
    """Open what the client opens, but for TLS: the test's server has no certificate."""
    connection = HttpConnection(place.address, place.port, timeout=connect_timeout_s)
    connection.connect()
    return connection


def test_a_name_that_becomes_private_gets_no_request_over_a_kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is asked for again, and the guard looks at what it says now."""
    ask = socket.getaddrinfo
    public, now = ["127.0.0.1"], ["127.0.0.1"]

    def resolve(host: str, port: int, *also: Any, **named: Any) -> list[Any]:
        if host != "moving.example":
            return ask(host, port, *also, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in now]

    monkeypatch.setattr("realmate.egress.client.socket.getaddrinfo", resolve)
    monkeypatch.setattr("realmate.egress.client.is_public", lambda address: address in public)
    monkeypatch.setattr("realmate.egress.client.RESOLVED_S", 0.0)
    monkeypatch.setattr(Connections, "open", without_tls)
    with keeping() as (url, server):
        there = url.replace("http://127.0.0.1", "https://moving.example")
        assert post(there, b"", {}, timeout_s=5).status == 200
        now[:] = ["10.0.0.1"]
        with pytest.raises(RequestForbidden, match=r"moving\.example is 10\.0\.0\.1"):
            post(there, b"", {}, timeout_s=5)
        assert server.connections == 1


def test_head_and_body_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = socket.socket.sendall

    def noted(self: socket.socket, data: bytes, *also: Any) -> None:
        sent.append(bytes(data))
        send(self, data, *also)

    with keeping() as (url, _):
        monkeypatch.setattr(socket.socket, "sendall", noted)
        for body in (b"first", b"second", b""):
            sent.clear()
            assert post(url, body, {}, timeout_s=5, allow_private=True).status == 200
            requests = [each for each in sent if each.startswith(b"POST ")]
            assert [each.endswith(b"\r\n\r\n" + body) for each in requests] == [True]
