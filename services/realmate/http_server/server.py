"""One listening port of this process. It accepts connections, routes requests, closes slow clients and drains.

The services of a process share it (`share`): webhook and query can answer on one port, and a service without a batch
route still answers for its health. It opens with the first that asks and closes with the last that lets go. Accepting,
like everything on the request path, is a callback of eventlet's hub; one greenlet reaps what is too slow.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import eventlet
import eventlet.hubs
import structlog
from eventlet.patcher import original

from realmate.http_server import metrics
from realmate.http_server.budget import ByteBudget, process_budget
from realmate.http_server.connection import Connection
from realmate.http_server.connection_limit import ConnectionLimit, peer_of, places
from realmate.http_server.direct_routes import DirectRoute, show_metrics
from realmate.http_server.known_heads import KnownHeads
from realmate.http_server.readers import READER_HEADERS, readers
from realmate.http_server.rejections import TOO_MANY_CONNECTIONS
from realmate.http_server.request import Request
from realmate.http_server.routes import Routes
from realmate.runtime.health import health
from realmate.runtime.loops import loops
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

BACKLOG = 2048
UNSENT_IN_KERNEL_BYTES = 131_072
"""The send buffer of each connection in the kernel.

Else the kernel would use megabytes for a client that reads nothing, and count them as ours.
"""
ACCEPTS_PER_TURN = 64
"""The most connections accepted at once, so that newcomers do not starve those who are connected."""
ACCEPT_PAUSE_S = 0.2
GUESTS = 64
"""Connections beyond the limit, at most; then the oldest of them has to go."""
ADMIN_CONNECTIONS = 64
ADMIN_SPARE_DESCRIPTORS = 4
ADMIN_BUDGET_BYTES = 4_194_304
"""The budget of the administrators' server, which must answer when the other server's budget is used up."""
REAP_INTERVAL_S = 1.0
CLOSE_POLL_S = 0.01
LAST_ANSWERS_S = 0.3
"""Work that is given up at the end of the drain is answered 503 only then, and those answers must still leave."""

_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# eventlet's own sockets would switch greenlets; these never do.
_plain_socket: Any = original("socket")

log = structlog.get_logger(__name__)


class User(Protocol):
    """An extension that shares the server. Routes take requests; others merely want the process's health answered."""

    takes_requests: bool


class HttpServer:
    """Use `share` to get one."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        budget: ByteBudget,
        places: ConnectionLimit,
        *,
        shows_metrics: bool,
    ) -> None:
        self.settings = settings
        self.budget = budget
        self.known_heads = KnownHeads()
        self._limit = places
        self._guests: dict[Connection, None] = {}  # the oldest first
        self.routes = Routes()
        self.routes.add("GET", "/healthz", _health_route("/healthz", health.live))
        self.routes.add("GET", "/readyz", _health_route("/readyz", health.ready))
        self.routes.add("GET", "/servingz", _health_route("/servingz", health.serving))
        if shows_metrics:
            self.routes.add(
                "GET", "/metrics", DirectRoute("/metrics", readers.only("admin", show_metrics)), headers=READER_HEADERS
            )
        self._unmatched = metrics.RouteMetrics("unmatched")
        self._hub: Any = eventlet.hubs.get_hub()
        self._connections: set[Connection] = set()
        self._listener: Any = None  # the hub's, while we accept
        self._users: set[User] = set()
        self._starting: set[User] = set()
        self._reaper: Any = None
        self._asked_port = port
        self._socket = _listen(settings.host, port)
        self._open = True
        self.port: int = self._socket.getsockname()[1]

    @property
    def draining(self) -> bool:
        """Whether the process was asked to stop. Each response is then the last of its connection."""
        return health.draining

    def join(self, user: User) -> None:
        self._users.add(user)
        self._starting.add(user)

    def start(self, user: User) -> None:
        """Accept, once all who share this server are ready: a route must not be a 404 while its service starts."""
        self._starting.discard(user)
        if not self._starting and self._reaper is None:
            self._resume_accepting()
            self._reaper = loops.spawn("close idle connections", self._reap)
            log.info("listening", host=self.settings.host, port=self.port)

    def leave(self, user: User) -> None:
        """Remove a user.

        When the last route has left (or, without routes, the last user), stop accepting, close idle connections, and
        let the others have their responses.
        """
        self._users.discard(user)
        stays_open = any(other.takes_requests or not user.takes_requests for other in self._users)
        if stays_open or not self._open:
            return
        self._open = False
        _servers.pop((self.settings.host, self._asked_port), None)
        while self._accept():  # who is connected already may have sent a request
            pass
        self._pause_accepting()
        self._socket.close()
        for connection in list(self._connections):
            connection.drain()

    def finish(self, deadline: float) -> None:
        """After `leave`: wait for the other users, for requests that still arrive and for responses that are due."""
        while time.monotonic() < deadline and (self._open or any(client.owes for client in self._connections)):
            eventlet.sleep(CLOSE_POLL_S)

    def close(self, deadline: float) -> None:
        """After `leave`: if nobody needs the server any more, `finish` and close everything."""
        if self._open:
            return
        self.finish(deadline + LAST_ANSWERS_S)
        for connection in list(self._connections):
            connection.close()
        if self._reaper is not None:
            self._reaper.kill()

    def admit(self, request: Request, announced_bytes: int | None) -> Response | int:
        """Decide by the head alone. The parser calls this before it reads the body."""
        handler = self.routes.match(request)
        if isinstance(handler, Response):
            self._unmatched.answered([handler.status], [])
            return handler
        request.handler = handler
        return handler.admit(request, announced_bytes)

    def admit_guest(self, request: Request, announced_bytes: int | None) -> Response | int:
        """Answer a guest's question after the process's health, and nothing else."""
        handler = self.routes.match(request)
        if isinstance(handler, DirectRoute) and handler.for_guests:
            request.handler = handler
            return handler.admit(request, announced_bytes)
        return TOO_MANY_CONNECTIONS

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._limit.remove(connection)
        self._guests.pop(connection, None)
        self._limit.spares.refill()
        metrics.CONNECTIONS.dec()

    def _on_acceptable(self, _fd: int) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Accept one connection; False if there is none, or no descriptor for it."""
        try:
            client, address = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS:
                if self._limit.spares.give_up_one():
                    return True
                self._wait_for_descriptors(error)
                return False
            return True  # a client that was gone before it was accepted
        self._welcome(client, peer_of(address))
        return True

    def _welcome(self, client: socket.socket, peer: str) -> None:
        client.setblocking(False)  # noqa: FBT003 (socket's signature)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_guest = not self._limit.has_room_for(peer)
        connection = Connection(client, self, peer, is_guest=is_guest)
        self._connections.add(connection)
        metrics.CONNECTIONS.inc()
        if is_guest:
            metrics.rejected("too_many_connections")
            self._receive_guest(connection)
        else:
            self._limit.add(connection)

    def _receive_guest(self, connection: Connection) -> None:
        """Keep a few connections beyond the limit for a moment: one may be a probe, and a 503 must not be lost in a
        reset."""
        self._guests[connection] = None
        if len(self._guests) > GUESTS:
            next(iter(self._guests)).close()

    def _wait_for_descriptors(self, error: OSError) -> None:
        """The listener stays readable while descriptors are short; without a pause, we would spin on it."""
        log.warning("cannot accept", error=str(error), connections=len(self._connections))
        self._pause_accepting()
        self._hub.schedule_call_global(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if self._listener is None and self._open:
            self._listener = self._hub.add(
                self._hub.READ, self._socket.fileno(), self._on_acceptable, lambda _error: None, None
            )

    def _pause_accepting(self) -> None:
        if self._listener is not None:
            self._hub.remove(self._listener)
            self._listener = None

    def _reap(self) -> None:
        shortest_s = min(self.settings.http_read_timeout_s, self.settings.http_idle_timeout_s)
        while True:
            loops.heartbeat()
            eventlet.sleep(min(REAP_INTERVAL_S, shortest_s / 4))
            now = time.monotonic()
            self.budget.observe()
            for connection in list(self._connections):
                self._expire(connection, now)

    def _expire(self, connection: Connection, now: float) -> None:
        try:
            connection.expire(now)
        except Exception:
            log.exception("connection failed")


def _health_route(path: str, respond: Callable[[], Response]) -> DirectRoute:
    return DirectRoute(path, lambda _request: respond(), for_guests=True)


_servers: dict[tuple[str, int], HttpServer] = {}


def share(settings: Settings, user: User) -> HttpServer:
    """Return this process's server for the host and port of `settings`. Raises OSError if it cannot listen there."""
    open_process(settings)
    key = (settings.host, settings.port)
    if key not in _servers:
        budget = process_budget(settings)
        shows_metrics = settings.admin_port is None
        _servers[key] = HttpServer(settings, settings.port, budget, places(settings), shows_metrics=shows_metrics)
    server = _servers[key]
    server.join(user)
    return server


class _Process:
    """The user of the administrators' server: it needs it for as long as it lives."""

    takes_requests = False


@cache
def open_process(settings: Settings) -> None:
    """Open what a process has once, whichever of its services comes first: the guard for readers, and ADMIN_PORT.
    Raises SettingsError and OSError.

    Every server is made after this, so none can serve readers without their guard.
    """
    readers.open(settings)
    _open_admin(settings)


def _open_admin(settings: Settings) -> None:
    """Serve health and metrics on ADMIN_PORT, if that is set, until the process ends. Raises OSError."""
    if settings.admin_port is not None:
        budget = ByteBudget(ADMIN_BUDGET_BYTES)
        server = HttpServer(
            settings,
            settings.admin_port,
            budget,
            ConnectionLimit(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS, spare_descriptors=ADMIN_SPARE_DESCRIPTORS),
            shows_metrics=True,
        )
        server.join(process := _Process())
        server.start(process)


def _listen(host: str, port: int) -> Any:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = _plain_socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # what connections inherit
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL_BYTES)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 (socket's signature)
    except BaseException:
        listener.close()
        raise
    return listener
