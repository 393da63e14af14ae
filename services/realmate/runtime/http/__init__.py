"""The HTTP server of every process: fast, strict, bounded, and drained on the way out.

From outside in: `server` accepts; `connection` is one client; `parser` turns its bytes into requests; `routes` finds
who answers; `batches` (for services) or `direct` (health, metrics) does; `answers` writes it. `entrypoint` makes Nameko
extensions of all this.
"""

from __future__ import annotations

from realmate.runtime.http.batches import NOT_YET
from realmate.runtime.http.entrypoint import HealthServer, http_batch
from realmate.runtime.http.isolation import isolated
from realmate.runtime.http.refusals import FAILED
from realmate.runtime.http.request import Request
from realmate.runtime.http.room import AnswerRoom, NoRoom

__all__ = ["FAILED", "NOT_YET", "AnswerRoom", "HealthServer", "NoRoom", "Request", "http_batch", "isolated"]
