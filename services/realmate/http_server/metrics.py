"""The metrics of the HTTP server.

They are cheap: label children are looked up once, and batches are counted as a whole.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from http import HTTPStatus

from prometheus_client import Counter, Gauge, Histogram

from realmate.runtime.exposition import observe_all

_REQUESTS = Counter("realmate_http_requests", "Requests answered", ["route", "status"])
_SECONDS = Histogram(
    "realmate_http_request_seconds",
    "From the last byte of a request to its answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_BATCH = Histogram(
    "realmate_http_batch_requests",
    "Requests that one worker took at once",
    ["route"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
_REJECTED = Counter("realmate_http_rejected", "Requests or connections that the server itself rejected", ["reason"])
WAITS_FOR_ROOM = Counter(
    "realmate_http_waits_for_room", "Times a connection or a batch had to wait until others held fewer bytes"
)
HELD_BYTES = Gauge("realmate_http_held_bytes", "Bytes of the budget that are held", multiprocess_mode="livesum")
STREAMS = Gauge("realmate_http_streams", "Open streams", multiprocess_mode="livesum")
CONNECTIONS = Gauge("realmate_http_connections", "Open connections", multiprocess_mode="livesum")


class RouteMetrics:
    """The metrics of one route, by its template and never by the path, of which there are endlessly many."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._seconds = _SECONDS.labels(route)
        self._batch = _BATCH.labels(route)
        self._by_status: dict[int, Counter] = {}

    def took(self, requests: int) -> None:
        self._batch.observe(requests)

    def answered(self, statuses: Sequence[int], seconds: Sequence[float]) -> None:
        for status, times in Tally(statuses).items():
            if status not in self._by_status:
                self._by_status[status] = _REQUESTS.labels(self._route, status)
            self._by_status[status].inc(times)
        if seconds:
            observe_all(self._seconds, seconds)


def rejected(reason: str) -> None:
    _REJECTED.labels(reason).inc()


def rejected_status(status: int) -> None:
    """Count a request that was not HTTP the server takes, by the name of its status."""
    rejected(HTTPStatus(status).name.lower())
