"""Sees when the database's clock is set back, and lets nothing wait until it has caught up.

Leases, retries and pauses end at moments of that clock. What was written by a clock that was an hour ahead would wait
for an hour: even the next event of a conversation in which all is well, and without end if the jump was long.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from realmate.deliveries import endpoint_statements as statements
from realmate.deliveries.claiming import lease_s
from realmate.runtime.transaction import Transactions
from realmate.sources.endpoints import Endpoint

SET_BACK_S = 1.0
"""The least jump that counts. A shorter one delays by itself at most."""
TIMES = 2
"""The second time finds what a transaction wrote that was under way when the clock was set."""
LANES_AT_ONCE = 10_000

log = structlog.get_logger(__name__)


class DatabaseClock:
    """Compares the database's clock with this process's monotonic one."""

    def __init__(self) -> None:
        self._least_ahead_s: float | None = None
        self._left = 0

    def look(self, db: Transactions, endpoints: Mapping[int, Endpoint]) -> None:
        """Hurry what waits for these endpoints, by their ids, if the clock was set back since the last look.

        At the first look nothing is known of the past. Then this hurries only what no clock would let wait so long.
        """
        if not endpoints:
            return
        before = time.monotonic()
        [(now_s,)] = db.fetch(statements.CLOCK)
        after = time.monotonic()
        is_first = self._least_ahead_s is None
        if self._least_ahead_s is not None and now_s - before < self._least_ahead_s - SET_BACK_S:
            self._left = TIMES
            log.warning("the database's clock was set back", seconds=round(self._least_ahead_s + before - now_s, 1))
        if is_first or self._left:
            _hurry(db, endpoints, everything=not is_first)
            self._left = max(0, self._left - 1)
        self._least_ahead_s = now_s - after


def _hurry(db: Transactions, endpoints: Mapping[int, Endpoint], *, everything: bool) -> None:
    leases_s = [lease_s(endpoint) for endpoint in endpoints.values()]
    if everything:
        db.fetch(statements.FORGET_HOLDS, list(endpoints))
    hurried = LANES_AT_ONCE
    while hurried == LANES_AT_ONCE:
        [(hurried,)] = db.fetch(statements.HURRY_STRANDED, list(endpoints), leases_s, everything, LANES_AT_ONCE)
