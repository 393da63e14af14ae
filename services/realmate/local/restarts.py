"""Starts a child again when it dies: soon the first time, later and later when that does not help."""

from __future__ import annotations

import signal
import time

import click

from realmate.local.child import Child, LocalError

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
STEADY_AFTER_S = 30.0
"""A child that has run this long was well: when it dies after that, the delays begin anew."""


class Restarter:
    """Over one child that has been started."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._started_at = time.monotonic()
        self._delay_s = FIRST_DELAY_S
        self._due_at: float | None = None

    def look(self) -> None:
        """Call this a few times a second. Blocks while a store starts again."""
        if self._child.running:
            return
        now = time.monotonic()
        if self._due_at is None:
            self._plan_restart(now)
        elif now >= self._due_at:
            self._restart(now)

    def _plan_restart(self, now: float) -> None:
        if now - self._started_at >= STEADY_AFTER_S:
            self._delay_s = FIRST_DELAY_S
        self._due_at = now + self._delay_s
        _tell(
            f"{self._child.name} ended unexpectedly ({ending(self._child.exit_code)}); starting it again in"
            f" {self._delay_s:g} s. Its log: {self._child.log}"
        )
        self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)

    def _restart(self, now: float) -> None:
        self._started_at, self._due_at = now, None
        try:
            self._child.start()
        except (LocalError, OSError) as error:  # OSError: a full disk, too many processes
            _tell(str(error))
        else:
            _tell(f"{self._child.name} runs again (pid {self._child.pid}).")


def ending(exit_code: int | None) -> str:
    """Return how a process ended, for a person."""
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _tell(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)
