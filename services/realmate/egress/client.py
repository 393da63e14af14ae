"""Requests to addresses that a file names: bounded in time and size, and not into private networks unless allowed.

A name is resolved once and every address it has is checked. The connection goes to one of those that were checked, so
a name that answers differently the second time gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from urllib.parse import SplitResult, urlsplit

import eventlet
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from werkzeug.http import parse_date

from realmate.egress.addresses import is_public
from realmate.errors import RealmateError

MAX_ANSWER_BYTES = 512 * 1024
CONNECT_TIMEOUT_S = 2.0
"""The time for one address of several, so that an address that drops packets leaves time for the next one."""


class RequestFailed(RealmateError):
    """There is no answer; the message says why, and may be logged."""

    may_pass: ClassVar[bool] = True


class RequestForbidden(RequestFailed):
    """The address is not one to send to."""

    may_pass = False


class EgressResponse(NamedTuple):
    status: int
    body: bytes
    retry_after_s: float


class _Request(NamedTuple):
    url: SplitResult
    body: bytes
    headers: Mapping[str, str]


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool = False
) -> EgressResponse:
    """POST, and read the whole answer, within `timeout_s` in all. Raises RequestFailed."""
    timer = eventlet.Timeout(timeout_s)
    try:
        return _post(_Request(urlsplit(url), body, headers), timeout_s, allow_private=allow_private)
    except eventlet.Timeout as fired:
        if fired is not timer:
            raise
        raise RequestFailed(f"no whole answer within {timeout_s:g} s") from None
    except (HTTPError, OSError, ValueError) as error:
        raise RequestFailed(f"{type(error).__name__}: {error}") from error
    finally:
        timer.cancel()


def _post(request: _Request, timeout_s: float, *, allow_private: bool) -> EgressResponse:
    if request.url.scheme != "https" and not allow_private:
        raise RequestForbidden(f"{request.url.scheme} is for private networks, and those are not allowed here")
    *others, last = _addresses(request.url, allow_private=allow_private)
    first_timeout = urllib3.Timeout(total=timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s / 2))
    for address in others:
        try:
            return _exchange(request, address, first_timeout)
        except (NewConnectionError, ConnectTimeoutError):
            continue  # nothing was sent: the next address may be one that listens
    return _exchange(request, last, urllib3.Timeout(total=timeout_s))


def _exchange(request: _Request, address: str, timeout: urllib3.Timeout) -> EgressResponse:
    url = request.url
    own = {"Host": url.netloc.rpartition("@")[2], "Connection": "close", "Accept-Encoding": "identity"}
    with _pool(address, url, timeout) as pool:
        answer = pool.urlopen(
            "POST",
            (url.path or "/") + (f"?{url.query}" if url.query else ""),
            body=request.body,
            headers={**request.headers, **own},
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,  # a few compressed bytes could become gigabytes
        )
        content = answer.read(MAX_ANSWER_BYTES + 1)
        answer.close()
    if len(content) > MAX_ANSWER_BYTES:
        raise RequestFailed(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return EgressResponse(answer.status, content, _seconds(answer.headers.get("Retry-After", "")))


def _pool(address: str, url: SplitResult, timeout: urllib3.Timeout) -> urllib3.HTTPConnectionPool:
    if url.scheme != "https":
        return _HttpPool(address, _port(url), timeout=timeout)
    return _HttpsPool(address, _port(url), timeout=timeout, server_hostname=url.hostname, assert_hostname=url.hostname)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _addresses(url: SplitResult, *, allow_private: bool) -> Sequence[str]:
    """The host's addresses in the system's order, at least one. Raises RequestForbidden if one must not be sent to."""
    host = url.hostname or ""
    found = socket.getaddrinfo(host, _port(url), type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    for address in addresses:
        if not allow_private and not is_public(address):
            raise RequestForbidden(f"{host} is {address}, which is no public address (allow_private would allow it)")
    return addresses


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds from now; 0 where it says neither seconds nor a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    moment = parse_date(retry_after)
    return 0.0 if moment is None else max(0.0, moment.timestamp() - time.time())


class _FinalResponse(http.client.HTTPResponse):
    """A response that reads past every interim one (1xx; RFC 9110, 15.2). The standard library skips 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:  # noqa: PLR2004 (101 ends HTTP on this connection, and nobody asked for it)
                return version, status, reason
            http.client.parse_headers(self.fp)


class _HttpConnection(HTTPConnection):
    response_class: Any = _FinalResponse


class _HttpsConnection(HTTPSConnection):
    response_class: Any = _FinalResponse


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
