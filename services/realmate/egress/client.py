"""Requests to addresses that a file names: bounded in time and size, and not into private networks unless allowed.

A name is resolved and every address it has is checked, before each request (what was found is used for a second). The
connection goes to one of those that were checked, so a name that answers differently the second time gains nothing.
Redirects are not followed. A connection is kept for the next request to the same place (`connections`).
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple
from urllib.parse import SplitResult, urlsplit

import eventlet
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from werkzeug.http import parse_date

from realmate.egress.addresses import is_public
from realmate.egress.connections import Connection, Connections, Place
from realmate.errors import RealmateError

MAX_ANSWER_BYTES = 512 * 1024
CONNECT_TIMEOUT_S = 2.0
"""The time for one address of several, so that an address that drops packets leaves time for the next one."""
RESOLVED_S = 1.0
MOST_RESOLVED = 1_000

_CLOSED_MEANWHILE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a kept connection raises that its server closed just before the request came."""


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
    headers: Mapping[str, str] = MappingProxyType({})


class _Request(NamedTuple):
    url: SplitResult
    body: bytes
    headers: Mapping[str, str]
    timeout_s: float
    first_bytes: int | None

    @property
    def target(self) -> str:
        return (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")


_connections = Connections()
_resolved: dict[tuple[str, int], tuple[float, Sequence[str]]] = {}


def post(  # noqa: PLR0913 (what bounds a request)
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    allow_private: bool = False,
    first_bytes: int | None = None,
) -> EgressResponse:
    """POST, and read the answer, within `timeout_s` in all. Raises RequestFailed.

    With `first_bytes` so many bytes of the answer are read, however large it is. Without it an answer that is larger
    than MAX_ANSWER_BYTES is a failure. A request that met the end of a kept connection is sent once more on a new one,
    so a receiver may get it twice.
    """
    timer = eventlet.Timeout(timeout_s)
    try:
        request = _Request(urlsplit(url), body, headers, timeout_s, first_bytes)
        return _post(request, allow_private=allow_private)
    except eventlet.Timeout as fired:
        if fired is not timer:
            raise
        raise RequestFailed(f"no whole answer within {timeout_s:g} s") from None
    except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise RequestFailed(f"{type(error).__name__}: {error}") from error
    finally:
        timer.cancel()


def _post(request: _Request, *, allow_private: bool) -> EgressResponse:
    url = request.url
    if url.scheme != "https" and not allow_private:
        raise RequestForbidden(f"{url.scheme} is for private networks, and those are not allowed here")
    addresses = _addresses(url, allow_private=allow_private)
    places = [Place(url.scheme, url.hostname or "", _port(url), address) for address in addresses]
    for place in places:
        if (kept := _connections.take(place)) is not None:
            try:
                return _exchange(request, place, kept)
            except _CLOSED_MEANWHILE:
                break
    place, connection = _opened(places, request.timeout_s)
    return _exchange(request, place, connection)


def _opened(places: Sequence[Place], timeout_s: float) -> tuple[Place, Connection]:
    """Return a new connection to the first place that takes one."""
    *others, last = places
    for place in others:
        try:
            return place, _connections.open(place, connect_timeout_s=min(CONNECT_TIMEOUT_S, timeout_s / 2))
        except (NewConnectionError, ConnectTimeoutError):
            continue  # the next address may be one that listens
    return last, _connections.open(last, connect_timeout_s=timeout_s)


def _exchange(request: _Request, place: Place, connection: Connection) -> EgressResponse:
    """Send the request and read its answer. Keep the connection if it can be used again."""
    try:
        answer, is_whole = _asked(request, connection)
    except BaseException:
        connection.close()
        raise
    if is_whole and connection.sock is not None:  # http.client lets go of it where the server closes it
        _connections.keep(place, connection)
    else:
        connection.close()
    return answer


def _asked(request: _Request, connection: Connection) -> tuple[EgressResponse, bool]:
    """Return the answer, and whether all of it was read."""
    own = {"Host": request.url.netloc.rpartition("@")[2], "Accept-Encoding": "identity"}
    connection.timeout = request.timeout_s
    connection.sends_head_with_body = bool(request.body)
    connection.request(
        "POST",
        request.target,
        body=request.body,
        headers={**request.headers, **own},
        preload_content=False,
        decode_content=False,  # a few compressed bytes could become gigabytes
    )
    answer = connection.getresponse()
    most = MAX_ANSWER_BYTES if request.first_bytes is None else request.first_bytes
    content = answer.read(most + 1)
    is_whole = answer.closed
    answer.close()
    if len(content) > most and request.first_bytes is None:
        raise RequestFailed(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    wait_s = _seconds(answer.headers.get("Retry-After", ""))
    return EgressResponse(answer.status, content[:most], wait_s, answer.headers), is_whole


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _addresses(url: SplitResult, *, allow_private: bool) -> Sequence[str]:
    """The host's addresses in the system's order, at least one. Raises RequestForbidden if one must not be sent to."""
    host = url.hostname or ""
    addresses = _resolve(host, _port(url))
    for address in addresses:
        if not allow_private and not is_public(address):
            raise RequestForbidden(f"{host} is {address}, which is no public address (allow_private would allow it)")
    return addresses


def _resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name. What was found is good for a second, so that a burst does not storm the DNS."""
    now = time.monotonic()
    at, addresses = _resolved.get((host, port), (now - RESOLVED_S, ()))
    if now - at < RESOLVED_S:
        return addresses
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    if len(_resolved) >= MOST_RESOLVED:
        _resolved.clear()
    _resolved[host, port] = now, addresses
    return addresses


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds from now; 0 where it says neither seconds nor a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    moment = parse_date(retry_after)
    return 0.0 if moment is None else max(0.0, moment.timestamp() - time.time())
