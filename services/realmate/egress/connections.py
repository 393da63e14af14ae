"""Connections to servers that a file names. They are kept for the next request, a few seconds at most.

A connection is kept under the address that was checked and under the name that its certificate was checked for, so a
request gets a kept one only where it might open the same one.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import urllib3.connection
from eventlet.patcher import original

_select = original("select")

KEPT_S = 4.0
"""Many servers close an idle connection after five seconds. A request that meets the close must be sent again."""
MOST_KEPT = 256
"""Idle connections to one address, at most: as many as an endpoint may have requests in flight."""


class Place(NamedTuple):
    """The place that a connection leads to."""

    scheme: str
    host: str
    port: int
    address: str


class _FinalResponse(http.client.HTTPResponse):
    """A response that reads past every interim one (1xx; RFC 9110, 15.2). The standard library skips 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:  # noqa: PLR2004 (101 ends HTTP on this connection, and nobody asked for it)
                return version, status, reason
            http.client.parse_headers(self.fp)


class _OneSend(http.client.HTTPConnection):
    """It sends the head of a request together with its body: a system call less, and one packet for the receiver."""

    sends_head_with_body = False
    """Set before a request that has a body, and that one alone."""
    _head = b""

    def send(self, data: Any) -> None:
        if self.sends_head_with_body:
            self.sends_head_with_body, self._head = False, data
            return
        head, self._head = self._head, b""
        super().send(head + data if head else data)


class HttpConnection(_OneSend, urllib3.connection.HTTPConnection):
    response_class: Any = _FinalResponse


class HttpsConnection(_OneSend, urllib3.connection.HTTPSConnection):
    response_class: Any = _FinalResponse


Connection = HttpConnection | HttpsConnection


def _is_open(connection: Connection) -> bool:
    """Return whether the server has neither closed it nor sent anything that nobody asked for.

    urllib3's `is_connected` says the same, but asks eventlet's hub, which costs more than the rest of the look.
    """
    if connection.sock is None:
        return False
    look = _select.poll()
    look.register(connection.sock, _select.POLLIN)
    return not look.poll(0)


class Connections:
    """The idle connections of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle: dict[Place, list[tuple[Connection, float]]] = {}
        self._swept_at = clock()

    def open(self, place: Place, *, connect_timeout_s: float) -> Connection:
        """Return a new connection. Raises what urllib3 and ssl raise."""
        connection: Connection
        if place.scheme == "https":
            host = place.host
            connection = HttpsConnection(place.address, place.port, server_hostname=host, assert_hostname=host)
        else:
            connection = HttpConnection(place.address, place.port)
        connection.timeout = connect_timeout_s
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def take(self, place: Place) -> Connection | None:
        """Return a kept connection that its server has not closed yet; None: there is none."""
        idle = self._idle.get(place, [])
        while idle:
            connection, kept_at = idle.pop()
            if self._clock() - kept_at < KEPT_S and _is_open(connection):
                return connection
            connection.close()
        return None

    def keep(self, place: Place, connection: Connection) -> None:
        """Keep a connection whose last response was read whole."""
        idle = self._idle.setdefault(place, [])
        if len(idle) < MOST_KEPT:
            idle.append((connection, self._clock()))
        else:
            connection.close()
        self._sweep()

    def _sweep(self) -> None:
        """Close what was kept for too long, wherever it leads."""
        now = self._clock()
        if now - self._swept_at < KEPT_S:
            return
        self._swept_at = now
        for place, idle in list(self._idle.items()):
            fresh = [each for each in idle if now - each[1] < KEPT_S]
            for connection, kept_at in idle:
                if now - kept_at >= KEPT_S:
                    with suppress(OSError):
                        connection.close()
            if fresh:
                self._idle[place] = fresh
            else:
                del self._idle[place]
