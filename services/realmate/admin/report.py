"""The progress of a replay that runs as a Job: served over HTTP while it runs, written to a file at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec


class Report(msgspec.Struct):
    total: int = 0
    """How many events this run has to send."""
    sent: int = 0
    answers: dict[str, int] = {}
    """How many events got which response, as in `202 accepted`."""


@contextmanager
def published(report: Report, port: int | None, path: Path | None) -> Iterator[None]:
    """Answer any GET on `port` with the report as it is, and leave it in the file at `path`, whatever happens."""
    server = None if port is None else _serve(report, port)
    try:
        yield
    finally:
        if server is not None:
            server.shutdown()
        if path is not None:
            path.write_bytes(msgspec.json.encode(report))


def _serve(report: Report, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = msgspec.json.encode(report)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody wants a line for each."""

    server = ThreadingHTTPServer(("", port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server
