"""Work that nobody waits for, for packages that know nothing of eventlet. The work handles its own errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

import eventlet

P = ParamSpec("P")


def spawn(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Start it now."""
    eventlet.spawn_n(work, *args, **kwargs)


def spawn_after(pause_s: float, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Start it after a pause."""
    eventlet.spawn_after(pause_s, work, *args, **kwargs)
