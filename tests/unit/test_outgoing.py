"""Where Realmate sends nothing, and how much it reads of an answer."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from realmate.runtime import outgoing
from realmate.runtime.outgoing import CallFailed, CallForbidden, is_public, post


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 (which is this machine, too)
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_for_everybody(address: str) -> None:
    assert not is_public(address)


def test_all_addresses_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: object) -> list[object]:
        assert host == "both.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(outgoing.socket, "getaddrinfo", resolve)
    with pytest.raises(CallForbidden, match=r"both\.example is 10\.0\.0\.1"):
        post("https://both.example/", b"", {}, timeout_s=1)


@pytest.mark.parametrize("url", ["http://localhost/", "http://127.1/", "http://[::1]/", "http://2130706433/"])
def test_this_machine_by_any_name_is_forbidden(url: str) -> None:
    with pytest.raises(CallForbidden):
        post(url, b"", {}, timeout_s=2)


def test_a_name_that_is_none_is_a_failure() -> None:
    with pytest.raises(CallFailed):
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
        assert post(url, b"", {}, timeout_s=5, allow_private=True) == (503, b"/path?query=1", 7.0)


def test_an_answer_without_end_is_cut_off() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    with serving(answer) as url, pytest.raises(CallFailed, match="larger"):
        post(url, b"", {}, timeout_s=10, allow_private=True)


def test_a_redirect_is_not_followed() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "http://127.0.0.1:1/")
        handler.end_headers()

    with serving(answer) as url:
        assert post(url, b"", {}, timeout_s=5, allow_private=True).status == 307


def test_nobody_listens() -> None:
    began = time.monotonic()
    with pytest.raises(CallFailed):
        post("http://127.0.0.1:1/", b"", {}, timeout_s=5, allow_private=True)
    assert time.monotonic() - began < 5
