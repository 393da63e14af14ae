"""HTTP itself: what is written on the socket, byte by byte, and what must come back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from client import PATIENCE_S, event
from raw_http import CHUNKED, RawConnection, get, in_chunks, post

UNKNOWN = "/conversations/00000000-0000-4000-8000-000000000000/"
"""Nobody opens this one."""


def connect(base_url: str) -> RawConnection:
    url = urlsplit(base_url)
    return RawConnection((str(url.hostname), url.port or 80), timeout_s=PATIENCE_S)


@pytest.fixture
def wire(base_url: str) -> Iterator[RawConnection]:
    if urlsplit(base_url).scheme == "https":
        pytest.skip("these tests write HTTP without TLS")
    with connect(base_url) as connection:
        yield connection


def opening(conversation_id: str | None = None) -> bytes:
    """The body of a NEW_CONVERSATION."""
    return json.dumps(event("NEW_CONVERSATION", id=conversation_id or str(uuid4()))).encode()


def send_event(body: bytes, headers: str = "", *, version: str = "1.1") -> bytes:
    return post("/webhook/", body, headers, version=version)


class TestOneConnection:
    def test_serves_many_requests(self, wire: RawConnection) -> None:
        assert [wire.ask(send_event(opening())).status for _ in range(5)] == [201] * 5

    def test_answers_pipelined_requests_in_their_order(self, wire: RawConnection) -> None:
        conversation_id = str(uuid4())
        wire.send(
            get(f"/conversations/{conversation_id}/")
            + send_event(opening(conversation_id))
            + get(f"/conversations/{conversation_id}/")
            + send_event(opening(conversation_id))
            + get(UNKNOWN)
        )
        assert [wire.read().status for _ in range(5)] == [404, 201, 200, 400, 404]

    def test_takes_a_request_byte_by_byte(self, wire: RawConnection) -> None:
        for byte in send_event(opening()):
            wire.send(bytes([byte]))
        assert wire.read().status == 201

    @pytest.mark.edge
    def test_tolerates_empty_lines_between_requests(self, wire: RawConnection) -> None:
        assert wire.ask(send_event(opening()) + b"\r\n\r\n").status == 201
        assert wire.ask(b"\r\n" + send_event(opening())).status == 201

    def test_is_closed_when_the_sender_says_so(self, wire: RawConnection) -> None:
        answer = wire.ask(send_event(opening(), "Connection: close\r\n"))
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert wire.ends()

    @pytest.mark.edge
    def test_is_closed_after_http_1_0(self, wire: RawConnection) -> None:
        assert wire.ask(send_event(opening(), version="1.0")).status == 201
        assert wire.ends()

    @pytest.mark.edge
    def test_is_kept_for_http_1_0_that_asks_for_it(self, wire: RawConnection) -> None:
        answer = wire.ask(send_event(opening(), "Connection: keep-alive\r\n", version="1.0"))
        assert (answer.status, answer.headers["connection"]) == (201, "keep-alive")
        assert wire.ask(get(UNKNOWN)).status == 404

    @pytest.mark.edge
    def test_that_the_sender_half_closes_still_gets_its_answer(self, wire: RawConnection) -> None:
        wire.send(send_event(opening()))
        wire.stop_sending()
        assert wire.read().status == 201

    def test_that_ends_in_the_middle_of_a_request_changes_nothing(self, base_url: str, wire: RawConnection) -> None:
        conversation_id = str(uuid4())
        with connect(base_url) as broken:
            broken.send(send_event(opening(conversation_id))[:-1])
        time.sleep(0.1)
        assert wire.ask(get(f"/conversations/{conversation_id}/")).status == 404

    def test_survives_an_error_of_the_event(self, wire: RawConnection) -> None:
        assert wire.ask(send_event(b"{")).code == "invalid_json"
        assert wire.ask(send_event(opening())).status == 201


class TestABody:
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_may_come_in_chunks(self, wire: RawConnection, size: int) -> None:
        assert wire.ask(send_event(in_chunks(opening(), size), CHUNKED)).status == 201

    def test_may_come_in_chunks_with_extensions_and_trailers(self, wire: RawConnection) -> None:
        chunks = in_chunks(opening(), 20, ";signature=x")[:-2] + b"X-Checksum: 1\r\n\r\n"
        assert wire.ask(send_event(chunks, CHUNKED)).status == 201
        assert wire.ask(get(UNKNOWN)).status == 404

    def test_is_asked_for_with_100_continue(self, wire: RawConnection) -> None:
        body = opening()
        assert wire.ask(send_event(body, "Expect: 100-continue\r\n")[: -len(body)]).status == 100
        assert wire.ask(body).status == 201

    def test_that_is_too_large_is_rejected_before_it_is_sent(self, wire: RawConnection) -> None:
        head = b"POST /webhook/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n"
        assert wire.ask(head).status == 413
        assert wire.ends()

    def test_that_is_too_large_is_rejected_while_it_is_sent_and_the_answer_arrives(self, wire: RawConnection) -> None:
        answer = wire.ask(send_event(b" " * 1_900_000))
        assert (answer.status, answer.code) == (413, "body_too_large")

    def test_in_chunks_that_grows_too_large_is_rejected(self, wire: RawConnection) -> None:
        assert wire.ask(send_event(in_chunks(b" " * 1_200_000, 10_000), CHUNKED)).status == 413

    @pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip", "aws-chunked"])
    def test_that_is_encoded_is_rejected_with_the_encoding_that_is_taken(
        self, wire: RawConnection, coding: str
    ) -> None:
        answer = wire.ask(send_event(opening(), f"Content-Encoding: {coding}\r\n"))
        assert (answer.status, answer.code) == (415, "unsupported_content_encoding")
        assert answer.headers["accept-encoding"] == "identity"
        assert wire.ask(send_event(opening(), "Content-Encoding: identity\r\n")).status == 201

    def test_may_come_with_an_upgrade_that_is_ignored(self, wire: RawConnection) -> None:
        offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        assert wire.ask(send_event(opening(), offer)).status == 201
        assert wire.ask(get(UNKNOWN)).status == 404


@pytest.mark.direct
@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, send_event(b"{}", "Content-Length: 2\r\n")),
        (400, send_event(b"{}", "Content-Length: 3\r\n")),
        (400, send_event(b"0\r\n\r\n", "Content-Length: 5\r\n" + CHUNKED)),
        (400, send_event(b"0\r\n\r\n", CHUNKED + CHUNKED)),
        (400, send_event(b"zz\r\n\r\n", CHUNKED)),
        (400, send_event(b"0\r\n\r\n", CHUNKED, version="1.0")),
        (501, send_event(b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked\r\n")),
        (417, send_event(b"{}", "Expect: a-miracle\r\n")),
        (400, get("/conversations/%zz/")),
        (400, get("/", "Space-Before : colon\r\n")),
        (400, get("/", "Folded: one\r\n two\r\n")),
        (400, get("/", "Nul: \0\r\n")),
        (431, get("/", "X-Long: " + "x" * 70_000 + "\r\n")),
        (431, get("/", "X-Many: x\r\n" * 7_000)),
        (431, get("/" + "x" * 70_000)),
        (505, get("/", version="2.0")),
        (501, get("/", method="BREW")),
        (400, b"GET /healthz RTSP/1.0\r\nHost: a\r\n\r\n"),
        (400, b"POST /webhook/ RTSP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"),
        (400, b"OPTIONS rtsp://a/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        (400, b"SOURCE /healthz ICE/1.0\r\n\r\n"),
        (501, b"SOURCE /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)
def test_what_is_no_proper_http_is_rejected_with_a_problem_and_the_connection_ends(
    wire: RawConnection, status: int, request_: bytes
) -> None:
    """Above all what two readers could read differently (request smuggling): nothing behind it is ever looked at."""
    answer = wire.ask(request_)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert wire.ends()


@pytest.mark.parametrize(
    "path",
    [
        *(pytest.param(path, marks=pytest.mark.edge) for path in ("/nothing", "/nothing/", "//webhook/")),
        *("/webhook/x/y", "/conversations/x/y", "/conversations/x/messages/y"),
    ],
)
def test_an_unknown_path_is_a_404_problem(wire: RawConnection, path: str) -> None:
    assert wire.ask(get(path)).code == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/webhook/", "POST"),
        ("GET", "/webhook", "POST"),
        ("DELETE", "/webhook/", "POST"),
        ("PUT", UNKNOWN, "GET, HEAD"),
        pytest.param("OPTIONS", "/healthz", "GET, HEAD", marks=pytest.mark.direct),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    wire: RawConnection, method: str, path: str, allow: str
) -> None:
    answer = wire.ask(get(path, method=method))
    assert (answer.status, answer.headers["allow"]) == (405, allow)


@pytest.mark.direct
@pytest.mark.parametrize("path", [UNKNOWN, "/healthz", "/nothing"])
def test_no_cache_may_store_an_answer(wire: RawConnection, path: str) -> None:
    assert wire.ask(get(path)).headers["cache-control"] == "no-store"


@pytest.mark.direct
def test_a_conversation_is_stored_in_no_cache(wire: RawConnection) -> None:
    conversation_id = str(uuid4())
    assert wire.ask(send_event(opening(conversation_id))).headers["cache-control"] == "no-store"
    assert wire.ask(get(f"/conversations/{conversation_id}/")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [UNKNOWN, "/healthz"])
def test_head_is_get_without_the_body(wire: RawConnection, path: str) -> None:
    whole = wire.ask(get(path))
    wire.send(get(path, method="HEAD"))
    head = wire.read(with_body=False)
    assert (head.status, head.headers["content-length"]) == (whole.status, whole.headers["content-length"])
    assert wire.ask(get(path)).status == whole.status


@pytest.mark.direct
def test_an_absolute_target_and_escapes_in_the_path_mean_the_same(wire: RawConnection) -> None:
    assert wire.ask(post("http://realmate/webhook/", opening())).status == 201
    assert wire.ask(post("/web%68ook?ignored=1", opening())).status == 201


def test_a_sane_request_id_comes_back_and_another_does_not(wire: RawConnection) -> None:
    def echoed(request_id: str) -> Any:
        return wire.ask(send_event(opening(), f"X-Request-Id: {request_id}\r\n")).headers["x-request-id"]

    assert echoed("order-66/a:b") == "order-66/a:b"
    assert echoed('"; DROP') != '"; DROP'
    assert echoed("x" * 129) != "x" * 129


@pytest.mark.edge  # others wait longer
def test_a_request_that_never_ends_gets_408(wire: RawConnection) -> None:
    wire.send(send_event(opening())[:-1])
    assert wire.read().status == 408
    assert wire.ends()
