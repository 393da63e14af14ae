"""Tiny Nameko services behind the real HTTP server, run by `http_process.py` in a process of their own."""

from __future__ import annotations

import eventlet
import msgspec

from realmate.http_server import HealthServer, Request, http_batch
from realmate.wire.responses import Response


def describe(requests: list[Request]) -> list[Response]:
    """What the service saw of each request, as JSON."""
    return [
        Response(
            200,
            msgspec.json.encode(
                {
                    "method": request.method,
                    "path": request.path,
                    "query": request.query,
                    "param": request.param,
                    "body": request.body.decode("latin-1"),
                    "request_id": request.request_id,
                    "batch": len(requests),
                }
            ),
        )
        for request in requests
    ]


class Echo:
    name = "echo"

    @http_batch("POST", "/echo/")
    def echo(self, requests: list[Request]) -> list[Response]:
        return [Response(200, request.body, "text/plain") for request in requests]

    @http_batch("POST", "/describe/")
    def describe(self, requests: list[Request]) -> list[Response]:
        return describe(requests)

    @http_batch("GET", "/things/{id}/")
    def thing(self, requests: list[Request]) -> list[Response]:
        return describe(requests)

    @http_batch("GET", "/big/{size}/")
    def big(self, requests: list[Request]) -> list[Response]:
        return [Response(200, b"x" * int(request.param), "text/plain") for request in requests]


class Trouble:
    """What a service can do slowly, and wrong."""

    name = "trouble"

    @http_batch("POST", "/slow/")
    def slow(self, requests: list[Request]) -> list[Response]:
        eventlet.sleep(max(float(request.body) for request in requests))
        return describe(requests)

    @http_batch("POST", "/raise/")
    def fail(self, requests: list[Request]) -> list[Response]:
        raise RuntimeError(f"a secret about {len(requests)} requests")

    @http_batch("POST", "/short/")
    def short(self, requests: list[Request]) -> list[Response]:
        return describe(requests[1:])

    @http_batch("POST", "/timeout/")
    def timeout(self, requests: list[Request]) -> list[Response]:
        with eventlet.Timeout(0.01):  # a BaseException
            eventlet.sleep(60)
        return describe(requests)

    @http_batch("POST", "/unsendable/")
    def unsendable(self, requests: list[Request]) -> list[Response]:
        return [Response(200, b"", headers=(("X-Note", "a\r\nX-Injected: b"),)) for _ in requests]


class Quiet:
    """A service without routes, as conversations is."""

    name = "quiet"

    health_server = HealthServer()
