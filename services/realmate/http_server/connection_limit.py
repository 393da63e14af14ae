"""The limits on open connections, in all and for each peer, and the choice of the connection that is closed for
another.

When all places are taken, the connection that has been idle for longest is closed for a newcomer. Where none is idle,
a request that has been arriving for long is given up. So neither idle clients nor slow ones can lock healthy ones out.
"""

from __future__ import annotations

import heapq
import ipaddress
import resource
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import structlog

from realmate.http_server.connection import Connection
from realmate.http_server.spare_descriptors import SpareDescriptors
from realmate.runtime.settings import Settings

MIN_IDLE_S = 1.0
"""A client that has been idle for less may be about to send its next request."""
MIN_ARRIVING_S = 2.0
FREED_AT_ONCE = 16
SEARCH_PAUSE_S = 0.1
"""Nobody is looked for again so soon after nobody was found: there are thousands to look at."""
OWN_DESCRIPTORS = 100
"""The descriptors that the process needs beside its clients: stores, transport, probes, files."""

log = structlog.get_logger(__name__)


class ConnectionLimit:
    def __init__(self, places: int, limit_per_peer: int, *, spare_descriptors: int = 0) -> None:
        self.spares = SpareDescriptors(spare_descriptors)
        self._limit = places
        self._limit_per_peer = limit_per_peer
        self._taken: dict[Connection, None] = {}
        self._by_peer: Counter[str] = Counter()
        self._searches_at = 0.0

    def add(self, connection: Connection) -> None:
        self._taken[connection] = None
        self._by_peer[connection.peer] += 1

    def remove(self, connection: Connection) -> None:
        if connection in self._taken:
            del self._taken[connection]
            self._by_peer -= Counter([connection.peer])

    def has_room_for(self, peer: str) -> bool:
        """Whether there is room for another connection of this peer. Idle connections are closed for it if needed."""
        if self._by_peer[peer] >= self._limit_per_peer and not self._free(1, of_peer=peer):
            return False
        return len(self._taken) < self._limit or self._free(FREED_AT_ONCE)

    def _free(self, count: int, of_peer: str | None = None) -> bool:
        now = time.monotonic()
        if now < self._searches_at:
            return False
        candidates = [each for each in self._taken if of_peer in (None, each.peer)]
        leaving = _longest(count, ((each.idle_since, each) for each in candidates), now - MIN_IDLE_S)
        leaving = leaving or _longest(count, ((each.arriving_since, each) for each in candidates), now - MIN_ARRIVING_S)
        for connection in leaving:
            connection.close_for_another()
        if not any(connection not in self._taken for connection in leaving):
            self._searches_at = now + SEARCH_PAUSE_S
            return False
        return True


def _longest(count: int, since: Iterable[tuple[float | None, Connection]], latest: float) -> list[Connection]:
    """The `count` connections that are so for longest, of those that are so since `latest` or before."""
    fitting = [(moment, id(each), each) for moment, each in since if moment is not None and moment <= latest]
    return [each for _, _, each in heapq.nsmallest(count, fitting)]


def peer_of(address: tuple[Any, ...]) -> str:
    """Return what counts as one peer: an IPv4 address, or the 64 bits of an IPv6 address that name its network."""
    host: str = address[0]
    if ":" not in host:
        return host
    ip = ipaddress.IPv6Address(host.partition("%")[0])
    return str(ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64))


def places(settings: Settings) -> ConnectionLimit:
    """Return the limit of the settings, or a lower one where the process may open fewer descriptors."""
    count = settings.http_max_connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        count = max(1, min(count, soft - min(OWN_DESCRIPTORS, soft // 2)))
    if count < settings.http_max_connections:
        log.warning(
            "fewer connections than HTTP_MAX_CONNECTIONS: this process may open too few files; raise ulimit -n",
            connections=count,
            http_max_connections=settings.http_max_connections,
            descriptors=soft,
        )
    return ConnectionLimit(count, settings.http_max_connections_per_peer or -(-count * 3 // 4))
