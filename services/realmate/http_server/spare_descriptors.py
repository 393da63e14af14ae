"""Descriptors that are kept open for nothing, so that there is one to accept a probe with when all others are taken."""

from __future__ import annotations

import os


class SpareDescriptors:
    def __init__(self, count: int) -> None:
        self._count = count
        self._open: list[int] = []
        self.refill()

    def refill(self) -> None:
        """Open as many again as are missing, so far as that is possible now."""
        while len(self._open) < self._count:
            try:
                self._open.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return

    def give_up_one(self) -> bool:
        """Close one, for somebody to take its place at once. False if none is left."""
        if not self._open:
            return False
        os.close(self._open.pop())
        return True
