"""The HTTP server of every process: fast, strict, bounded, and drained on the way out.

From outside in: `server` accepts; `connection` is one client; `parser` turns its bytes into requests; `routes` finds
who answers; `batches`, `waiting` and `streams` (for services) or `direct_routes` (health, metrics) does; `responses`
writes it. `entrypoints` makes Nameko extensions of all this.
"""

from __future__ import annotations

from realmate.http_server.batches import NOT_YET
from realmate.http_server.entrypoints import HealthServer, http_batch, http_tree, http_waiting
from realmate.http_server.isolation import isolated
from realmate.http_server.rejections import FAILED
from realmate.http_server.request import Request
from realmate.http_server.response_memory import MemoryExhausted, ResponseMemory
from realmate.http_server.streams import Stream, Streaming

__all__ = [
    "FAILED",
    "NOT_YET",
    "HealthServer",
    "MemoryExhausted",
    "Request",
    "ResponseMemory",
    "Stream",
    "Streaming",
    "http_batch",
    "http_tree",
    "http_waiting",
    "isolated",
]
