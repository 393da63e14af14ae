"""Reservations in the memory budget for responses. A service makes one before it loads what a response is made of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from eventlet.event import Event
from nameko.extensions import DependencyProvider

from realmate.http_server.budget import ByteBudget, process_budget
from realmate.runtime.config import settings_of


class MemoryExhausted(Exception):
    """Others held the room for too long. The message is for the reader."""


class Reservations:
    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget

    @contextmanager
    def of(self, wanted_bytes: int, deadline: float) -> Iterator[None]:
        """Reserve so many bytes for the block. Raises MemoryExhausted where there is no room for them by `deadline`."""
        claim = _Claim(self._budget, wanted_bytes)
        claim.wait(deadline)
        try:
            yield
        finally:
            self._budget.change(wanted_bytes, 0)


class _Claim:
    """A greenlet that waits for room."""

    def __init__(self, budget: ByteBudget, wanted_bytes: int) -> None:
        self._budget = budget
        self._wanted_bytes = wanted_bytes
        self._granted = Event()

    def wait(self, deadline: float) -> None:
        if self._budget.fits(self._wanted_bytes):
            self._budget.change(0, self._wanted_bytes)
            return
        self._budget.wait(self, self._wanted_bytes)
        try:
            with eventlet.Timeout(max(0.001, deadline - time.monotonic()), False):  # noqa: FBT003 (leave the block)
                self._granted.wait()
        finally:
            self._budget.leave(self)
        if not self._granted.ready():
            raise MemoryExhausted("Too many bytes are on their way to other readers; ask again.")

    def resume(self) -> None:
        self._budget.change(0, self._wanted_bytes)
        self._granted.send()


class ResponseMemory(DependencyProvider):
    """Injects the Reservations of this process."""

    def setup(self) -> None:
        self._room = Reservations(process_budget(settings_of(self.container)))

    def get_dependency(self, worker_ctx: Any) -> Reservations:  # noqa: ARG002 (Nameko's signature)
        return self._room
