"""The routes: each method and path has a handler. The last segment of a path, or the one before it, may be `{…}`.

A tree is a first segment with everything below it, for a handler that routes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from realmate.http_server.parser import OWN_HEADERS, headers_kept
from realmate.http_server.request import Request
from realmate.http_server.streams import StreamSink
from realmate.wire.responses import Response, problem


class ResponseSink(Protocol):
    """The connection that a request came from, and that its response goes to."""

    def respond(self, request: Request, response: Response) -> None: ...


class Client(ResponseSink, StreamSink, Protocol):
    """The connection, where the response may be a stream."""

    peer: str
    """The address of the other end, as the limit of connections counts it."""


class Handler(Protocol):
    """The handler of a route."""

    def admit(self, request: Request, announced_bytes: int | None) -> Response | int:
        """Reject the request, or return how large its body may be, like `parser.Admit`. It never blocks."""

    def submit(self, request: Request, connection: Client) -> Response | None:
        """Answer at once, or return None and let `connection.respond(request, …)` follow. Never blocks."""


_Methods = dict[str, Handler]


class Routes:
    """The routes of one server. A trailing slash makes no difference anywhere."""

    def __init__(self) -> None:
        self._exact: dict[str, _Methods] = {}
        self._under: dict[str, _Methods] = {}
        self._within: dict[tuple[str, str], _Methods] = {}
        self._trees: dict[str, Handler] = {}
        self.headers = headers_kept(OWN_HEADERS)
        """The headers that the server or one of its handlers reads."""

    def add(self, method: str, template: str, handler: Handler, *, headers: Iterable[str] = ()) -> None:
        """Add a handler. `template` is `/a/b/`, `/a/{name}/` or `/a/{name}/b/`. GET brings HEAD with it.

        `headers` are those that the handler reads, in lower case. Raises ValueError if the route is taken.
        """
        methods = self._methods_of(template)
        if method in methods:
            raise ValueError(f"two handlers for {method} {template}")
        methods[method] = handler
        self.headers |= headers_kept(headers)

    def add_tree(self, first_segment: str, handler: Handler, *, headers: Iterable[str] = ()) -> None:
        """Add a handler for every method and path that begins with this segment. Other routes go before it.

        Raises ValueError if the tree is taken.
        """
        if first_segment in self._trees:
            raise ValueError(f"two handlers for all below /{first_segment}/")
        self._trees[first_segment] = handler
        self.headers |= headers_kept(headers)

    def match(self, request: Request) -> Handler | Response:
        """The request's handler, with `request.param` filled in, or a 404 or 405 problem."""
        path = request.path.removesuffix("/")
        methods = self._exact.get(path)
        if methods is None:
            parent, _, param = path.rpartition("/")
            methods = self._under.get(parent)
            request.param = param
            if methods is None:
                parent, _, request.param = parent.rpartition("/")
                methods = self._within.get((parent, param))
        if not methods:
            tree = self._trees.get(path.split("/", 2)[1]) if path else None
            if tree is not None:
                return tree
            return problem(404, "not_found", "There is nothing at this path.")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        return handler or _method_not_allowed(methods)

    def _methods_of(self, template: str) -> _Methods:
        path = template.removesuffix("/")
        parent, _, last = path.rpartition("/")
        if last.startswith("{"):
            return self._under.setdefault(parent, {})
        before, _, middle = parent.rpartition("/")
        if middle.startswith("{"):
            return self._within.setdefault((before, last), {})
        return self._exact.setdefault(path, {})


def _method_not_allowed(methods: _Methods) -> Response:
    allow = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
    return problem(405, "method_not_allowed", f"Allowed here: {allow}.", headers=(("Allow", allow),))
