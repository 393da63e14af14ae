"""A lookout: while anybody waits, one greenlet looks for news on behalf of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import eventlet
from eventlet.event import Event


class Lookout:
    def __init__(self) -> None:
        self._news = Event()
        self._waiting = 0
        self._looks = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits. Who looks ends when nobody does."""
        return self._waiting > 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The lookout is wanted within this block."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def wait(self, look: Callable[[], None], timeout_s: float) -> None:
        """Return with the next `tell`, or after the timeout. `look` runs meanwhile, once for all who wait; what it
        raises is raised here."""
        if not self._looks:
            self._looks = True
            eventlet.spawn_n(self._run, look)
        with eventlet.Timeout(timeout_s, False):  # noqa: FBT003 (leave the block)
            self._news.wait()

    def tell(self) -> None:
        """Wake all who wait."""
        news, self._news = self._news, Event()
        news.send()

    def _run(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 (whoever waits raises it)
            news, self._news = self._news, Event()
            news.send_exception(error)
        finally:
            self._looks = False
