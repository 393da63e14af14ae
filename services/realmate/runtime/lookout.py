"""A lookout: while anybody wants news, one greenlet looks for them on behalf of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import eventlet
from eventlet.event import Event


class Lookout:
    def __init__(self) -> None:
        self._news = Event()
        self._wanted = 0
        self._looks = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants news. Who looks ends when nobody does."""
        return self._wanted > 0

    def enter(self, look: Callable[[], None]) -> None:
        """Want news until `leave`. `look` runs meanwhile, once for all who want them."""
        self._wanted += 1
        self._start(look)

    def leave(self) -> None:
        self._wanted -= 1

    @contextmanager
    def wanting(self, look: Callable[[], None]) -> Iterator[None]:
        """Want news within this block."""
        self.enter(look)
        try:
            yield
        finally:
            self.leave()

    def wait(self, look: Callable[[], None], timeout_s: float) -> None:
        """Return with the next `tell`, or after the timeout. Raises the error that is told, and what `look` raises."""
        self._start(look)  # it may have failed meanwhile
        with eventlet.Timeout(timeout_s, False):  # noqa: FBT003 (leave the block)
            self._news.wait()

    def tell(self, error: Exception | None = None) -> None:
        """Wake all who wait. They raise the error, if there is one."""
        news, self._news = self._news, Event()
        if error is None:
            news.send()
        else:
            news.send_exception(error)

    def _start(self, look: Callable[[], None]) -> None:
        if not self._looks:
            self._looks = True
            eventlet.spawn_n(self._run, look)

    def _run(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 (whoever waits raises it)
            self.tell(error)
        finally:
            self._looks = False
