"""A response as the bytes of an HTTP/1.1 answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus

import structlog
from werkzeug.http import http_date

from realmate.http_server.rejections import FAILED
from realmate.http_server.request import Request
from realmate.http_server.streams import Streaming
from realmate.wire.responses import Response

log = structlog.get_logger(__name__)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

NO_STORE = "cache-control: no-store\r\n"
"""No cache may store a response that does not say otherwise: messages are private, and no response about them is true
for long (RFC 9111, 5.2.2.5)."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class _Date:
    """The Date header, formatted once a second and not once a request."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = http_date(second)
        return self._text


_date = _Date()


JOINED_BYTES = 65_536
"""The largest body that is copied behind its head, so that both leave in one call."""


def encode(
    response: Response, request_id: str, *, connection: str | None = None, with_body: bool = True
) -> tuple[bytes, ...]:
    """The pieces of the answer. `connection` is the Connection header, where one is needed; `with_body` is False for
    the answer to a HEAD."""
    extra = _extra_headers(response.headers) if response.headers else ""
    if connection is not None:
        extra += f"connection: {connection}\r\n"
    head = (
        f"{_STATUS_LINES[response.status]}{_about_body(response)}date: {_date.now()}\r\n{_caching(response)}"
        f"x-request-id: {request_id}\r\n{extra}\r\n"
    )
    encoded = head.encode("latin-1")
    if not with_body:
        return (encoded,)
    return (encoded + response.body,) if len(response.body) <= JOINED_BYTES else (encoded, response.body)


def encode_stream_head(streaming: Streaming, request: Request) -> bytes:
    """The head of a response whose length nobody knows yet. Raises ValueError."""
    framing = "" if request.version == "1.0" else "transfer-encoding: chunked\r\n"
    head = (
        f"{_STATUS_LINES[200]}content-type: {streaming.content_type}\r\ndate: {_date.now()}\r\n{NO_STORE}"
        f"x-request-id: {request.request_id}\r\n{_extra_headers(streaming.headers)}{framing}connection: close\r\n\r\n"
    )
    return head.encode("latin-1")


def _caching(response: Response) -> str:
    return "" if any(name.lower() == "cache-control" for name, _ in response.headers) else NO_STORE


def _about_body(response: Response) -> str:
    if response.status in (HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT):
        return ""  # a length would be that of the answer which the client has, or is forbidden (RFC 9110, 8.6)
    return f"content-type: {response.content_type}\r\ncontent-length: {len(response.body)}\r\n"


def _extra_headers(headers: Sequence[tuple[str, str]]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header with a line break in it would become two")
    return lines


def encode_or_fail(response: Response, request: Request, connection: str | None) -> tuple[bytes, ...]:
    """The answer to `request`, or, if a service returned what cannot be sent, a 503: no request goes unanswered."""
    with_body = request.method != "HEAD"
    try:
        return encode(response, request.request_id, connection=connection, with_body=with_body)
    except Exception:
        log.exception("a response cannot be sent", request_id=request.request_id)
        return encode(FAILED, request.request_id, connection=connection, with_body=with_body)
