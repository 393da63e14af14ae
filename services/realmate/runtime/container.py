"""Nameko's container, but for what happens when a greenlet of it fails in a way that nobody foresaw.

Nameko kills the container from inside the greenlet that is dying, which kills that greenlet as well: the container is
neither dead nor at work then, and `wait` never returns. Here the process ends at once.
"""

from __future__ import annotations

from typing import Any

from nameko.containers import ServiceContainer

from realmate.runtime.loops import end_process


class Container(ServiceContainer):
    def kill(self, exc_info: Any = None) -> None:
        """Nameko calls this with `exc_info` when a managed greenlet, or what runs around a worker's method, raised."""
        if exc_info is not None:
            end_process(self.service_name, exc_info[1])
        super().kill(exc_info)
