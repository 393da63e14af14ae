"""A WSGI application (PEP 3333) behind this server, for what is asked seldom and is better routed by a library.

The server keeps its limits, its timeouts and its drain; the application gets requests whose bodies are complete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from werkzeug.wrappers import Response as WsgiResponse

from realmate.http_server.request import Request
from realmate.wire.responses import Response

HEADERS = (
    *(
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "content-type",
        "cookie",
        "idempotency-key",
        "if-modified-since",
    ),
    *("if-none-match", "origin", "x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"),
)
"""The headers that an application sees. One that reads others declares them with its route, beside these."""
_OWN = {"date", "connection", "content-type", "content-length"}
"""The headers that the server writes itself."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def respond(application: Application, request: Request) -> Response:
    """Return what the application answers to the request."""
    answer = WsgiResponse.from_app(application, environ_of(request), buffered=True)
    headers = tuple((name, value) for name, value in answer.headers.items() if name.lower() not in _OWN)
    return Response(answer.status_code, answer.get_data(), answer.headers.get("Content-Type", ""), headers)


def environ_of(request: Request) -> dict[str, Any]:
    """Return the request as WSGI describes it, and beside that its id and its headers, by their names in lower case."""
    host, _, port = request.headers.get("host", "").partition(":")
    described = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": request.peer,
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "realmate.request_id": request.request_id,
        "realmate.headers": request.headers,
    }
    return described | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
