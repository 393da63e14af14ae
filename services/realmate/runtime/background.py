"""Work beside the workers: greenlets, so many at once for each key, that nobody waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import eventlet
import structlog
from nameko.extensions import DependencyProvider

DRAIN_S = 5.0

log = structlog.get_logger(__name__)


class Background(DependencyProvider):
    """Injects itself. Stopping waits `DRAIN_S` at most: the work must be such that somebody else can do it again."""

    def setup(self) -> None:
        self._running: set[Any] = set()
        self._by_key: Counter[str] = Counter()

    def get_dependency(self, worker_ctx: Any) -> Background:  # noqa: ARG002 (Nameko's signature)
        return self

    def running(self, key: str) -> int:
        return self._by_key[key]

    def start(self) -> None:
        """Nameko's: nothing to do."""

    def run(self, key: str, work: Callable[[], None]) -> None:
        """Start it now. `work` handles its own errors; one that it did not foresee is logged."""
        self._by_key[key] += 1
        thread = eventlet.spawn(work)
        self._running.add(thread)
        thread.link(self._end, key)

    def stop(self) -> None:
        with eventlet.Timeout(DRAIN_S, exception=False):
            for thread in list(self._running):
                with suppress(Exception):  # `_end` logs it
                    thread.wait()

    def _end(self, thread: Any, key: str) -> None:
        self._running.discard(thread)
        self._by_key[key] -= 1
        try:
            thread.wait()
        except Exception:
            # Not the end of the process: the work may be one tenant's, and the others must go on.
            log.exception("background work failed", key=key)
