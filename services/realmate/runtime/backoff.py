"""The pauses between attempts. Each is twice as long as the one before, up to a limit, and has jitter."""

from __future__ import annotations

import random
from typing import NamedTuple

_MOST_DOUBLINGS = 16


class Backoff(NamedTuple):
    first_s: float
    longest_s: float

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row: between half of the full pause and all of it."""
        doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
        full_s: float = min(self.first_s * 2**doublings, self.longest_s)
        return full_s * random.uniform(0.5, 1.0)  # noqa: S311 (to spread, not to hide)
