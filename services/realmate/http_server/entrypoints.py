"""The HTTP server as Nameko extensions: `@http_batch(method, path)` for services, `HealthServer` for those without.

    class Intake:
        name = "webhook"

        @http_batch("POST", "/webhook/")
        def receive(self, requests: list[Request]) -> list[Response]: ...

The method gets every request that waits and returns one response for each, in order. If it raises, returns anything
else, or is killed, each of its requests gets a 503.

`admit=` names a function that looks at each request when its head is complete, before its body is read:
`admit(injected, request, announced_bytes)` returns the answer that rejects the request, or the size of the largest body
that it may have. `injected` has the service's dependencies under their names, as they are at that moment.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import eventlet
from nameko.extensions import DependencyProvider, Entrypoint

from realmate.http_server.batches import BatchQueue, RequestBatch
from realmate.http_server.request import Request
from realmate.http_server.routes import Routes
from realmate.http_server.server import HttpServer, share
from realmate.http_server.streams import Streaming
from realmate.http_server.waiting import Waiting, WaitingRoute
from realmate.runtime.config import settings_of
from realmate.runtime.health import health
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

BatchMethod = Callable[[Any, list[Request]], list[Response]]
WaitingMethod = Callable[[Any, Request], Response | Streaming]
AdmitMethod = Callable[[Any, Request, int | None], Response | int]


T = TypeVar("T")
R = TypeVar("R")


class WorkerKilledError(Exception):
    """A worker was killed, or a timeout went through it."""


def http_batch(
    method: str, path: str, *, admit: AdmitMethod | None = None, headers: Iterable[str] = ()
) -> Callable[[BatchMethod], BatchMethod]:
    """Decorate a service method to answer this method and path; a last segment `{…}` comes as `request.param`.

    `headers` are those that the method and `admit` read, in lower case. The server keeps no others.
    """
    register: Callable[[BatchMethod], BatchMethod] = BatchHttp.decorator(method, path, admit=admit, headers=headers)

    def decorate(service_method: BatchMethod) -> BatchMethod:
        return register(_always_ending(service_method))

    return decorate


def http_waiting(method: str, path: str, *, headers: Iterable[str] = ()) -> Callable[[WaitingMethod], WaitingMethod]:
    """Decorate a service method to answer this method and path, each request in a worker of its own, which may wait.

    It may return a `Streaming` instead of a response: then the request is at work until its stream ends. At most
    STREAMS_MAX requests are at work; beyond that they get a 503. Whoever waits, or streams, must stop when
    `health.draining`.
    """
    register: Callable[[WaitingMethod], WaitingMethod] = WaitingHttp.decorator(method, path, headers=headers)

    def decorate(service_method: WaitingMethod) -> WaitingMethod:
        return register(_always_ending(service_method))

    return decorate


def http_tree(
    path: str, *, most_at_work: int, most_bytes: int, headers: Iterable[str] = ()
) -> Callable[[WaitingMethod], WaitingMethod]:
    """Decorate a service method to answer every method at this path and below it, as in `/admin/`.

    It routes by itself. Each request has a worker of its own, `most_at_work` at a time, and a body of at most
    `most_bytes`; beyond that it gets a 503, or a 413.
    """
    register: Callable[[WaitingMethod], WaitingMethod] = TreeHttp.decorator(
        path, most_at_work=most_at_work, most_bytes=most_bytes, headers=headers
    )

    def decorate(service_method: WaitingMethod) -> WaitingMethod:
        return register(_always_ending(service_method))

    return decorate


def _always_ending(service_method: Callable[[Any, T], R]) -> Callable[[Any, T], R]:
    """Nameko tells an entrypoint of results and of `Exception`s, but not when a worker is killed (GreenletExit) or an
    eventlet.Timeout escapes: both are BaseExceptions. Without this, its requests would never be answered."""

    @functools.wraps(service_method)
    def run(service: Any, asked: T) -> R:
        try:
            return service_method(service, asked)
        except Exception:
            raise
        except BaseException as error:
            raise WorkerKilledError from error

    return run


class _ServerUser:
    """The common part of the extensions that share the server. `setup` sets `_server`."""

    container: Any
    takes_requests = False
    _server: HttpServer | None = None

    def start(self) -> None:
        if self._server is not None:
            self._server.start(self)

    def stop(self) -> None:
        """Drain: take no more, answer what was taken, and return after `drain_timeout_s` at the latest."""
        health.draining = True
        self._leave(settings_of(self.container).drain_timeout_s)

    def kill(self) -> None:
        health.draining = True
        self._leave(0)

    def _leave(self, timeout_s: float) -> None:
        raise NotImplementedError


class _Route(_ServerUser, Entrypoint):
    """One route, whose requests are handed to workers. A subclass says how: `_make_handler`."""

    takes_requests = True

    def __init__(self, method: str, path: str, *, headers: Iterable[str] = (), **kwargs: Any) -> None:
        self._method = method
        self._headers = tuple(headers)
        self._path = path
        super().__init__(**kwargs)

    def setup(self) -> None:
        settings = settings_of(self.container)
        self._server = share(settings, self)
        self._handler = self._make_handler(settings)
        self._add(self._server.routes)

    def _add(self, routes: Routes) -> None:
        routes.add(self._method, self._path, self._handler, headers=self._headers)

    def _make_handler(self, settings: Settings) -> BatchQueue | WaitingRoute:
        raise NotImplementedError

    def stop(self) -> None:
        """Drain, after `drain_delay_s` in which everything is still worked on.

        Whoever routes to this process learns only in time that it stops: from readiness, from the `Connection: close`
        in each answer. Requests that come meanwhile, on connections old and new, must not meet a closed door.
        """
        health.draining = True
        if self._server is not None:
            eventlet.sleep(settings_of(self.container).drain_delay_s)
        super().stop()

    def _leave(self, timeout_s: float) -> None:
        if self._server is None:  # it never got as far as listening
            return
        deadline = time.monotonic() + timeout_s
        self._server.leave(self)
        self._server.finish(deadline)
        if not self._handler.drain(deadline):
            self._handler.abandon()
        self._server.close(deadline)


class BatchHttp(_Route):
    """Use `http_batch`."""

    def __init__(self, method: str, path: str, *, admit: AdmitMethod | None = None, **kwargs: Any) -> None:
        self._admit = admit
        super().__init__(method, path, **kwargs)

    def _make_handler(self, settings: Settings) -> BatchQueue:
        admit = None if self._admit is None else functools.partial(self._admit, _Injected(self.container))
        return BatchQueue(self._path, self._spawn, settings, admit)

    def _spawn(self, batch: RequestBatch) -> None:
        self.container.spawn_worker(self, (batch.requests,), {}, handle_result=functools.partial(self._finish, batch))

    def _finish(self, batch: RequestBatch, _context: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        if exc_info is not None:
            batch.fail("its worker raised", exc_info[1])
        elif not _fits(result, len(batch.requests)):
            batch.fail("its worker did not return one response for each request")
        else:
            batch.finish(result)
        return result, exc_info


class WaitingHttp(_Route):
    """Use `http_waiting`."""

    def _make_handler(self, settings: Settings) -> WaitingRoute:
        return WaitingRoute(self._path, self._spawn, settings.streams_max)

    def _spawn(self, waiting: Waiting) -> None:
        finish = functools.partial(self._finish, waiting)
        self.container.spawn_worker(self, (waiting.request,), {}, handle_result=finish)

    def _finish(self, waiting: Waiting, _context: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        if exc_info is not None:
            waiting.fail("its worker raised", exc_info[1])
        elif isinstance(result, Streaming):
            self._begin(waiting, result)
        elif not isinstance(result, Response):
            waiting.fail("its worker did not return a response")
        else:
            waiting.finish(result)
        return result, exc_info

    def _begin(self, waiting: Waiting, streaming: Streaming) -> None:
        try:
            waiting.begin(streaming)
        except Exception as error:  # noqa: BLE001 (the request must be answered, or its stream ended; logged there)
            waiting.fail("its stream could not begin", error)


class TreeHttp(WaitingHttp):
    """Use `http_tree`."""

    def __init__(self, path: str, *, most_at_work: int, most_bytes: int, **kwargs: Any) -> None:
        self._most_at_work = most_at_work
        self._most_bytes = most_bytes
        super().__init__("*", path, **kwargs)

    def _make_handler(self, _settings: Settings) -> WaitingRoute:
        return WaitingRoute(self._path, self._spawn, self._most_at_work, most_bytes=self._most_bytes)

    def _add(self, routes: Routes) -> None:
        routes.add_tree(self._path.strip("/"), self._handler, headers=self._headers)


class _Injected:
    """A service's dependencies by their names. Each access gives the value that a worker started now would get."""

    def __init__(self, container: Any) -> None:
        self._providers = {provider.attr_name: provider for provider in container.dependencies}

    def __getattr__(self, name: str) -> Any:
        return self._providers[name].get_dependency(None)


def _fits(result: Any, requests: int) -> bool:
    return (
        isinstance(result, list)
        and len(result) == requests
        and all(isinstance(response, Response) for response in result)
    )


class HealthServer(_ServerUser, DependencyProvider):
    """Health and metrics for a service without HTTP routes; they answer until its entrypoints have drained."""

    def setup(self) -> None:
        self._server = share(settings_of(self.container), self)

    def _leave(self, timeout_s: float) -> None:
        if self._server is None:
            return
        self._server.leave(self)
        self._server.close(time.monotonic() + timeout_s)
