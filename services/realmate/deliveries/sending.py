"""Sends what is due to the endpoints, each with its own requests in flight, and settles what became of it.

One greenlet claims and settles for all endpoints of the process; each request has a greenlet of its own. While a
settlement commits, further outcomes come in, and the next one settles all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from realmate.deliveries import metrics
from realmate.deliveries.attempts import Result, attempt, failed
from realmate.deliveries.claiming import Claimed, claim
from realmate.deliveries.registry import Registry
from realmate.deliveries.settling import Settled, settle
from realmate.egress.circuit_breaker import CircuitBreaker
from realmate.feed.events import Event
from realmate.runtime.background import Background
from realmate.runtime.health import health
from realmate.runtime.transaction import Transactions
from realmate.sources.endpoint_file import Endpoints
from realmate.sources.endpoints import Endpoint

CLAIMED_AT_ONCE = 256
"""The most deliveries that are read at a time, so that their contents have room in memory."""
SETTLED_AT_ONCE = 500
LOOK_PAUSE_S = 0.05
OUTCOME_PAUSE_S = 0.002
"""The pause between two looks for outcomes, while requests are in flight."""
LOG_PAUSE_S = 1.0
RUN_S = 1.0
DRAIN_S = 5.0

log = structlog.get_logger(__name__)


class Sender:
    """The requests of one process, and the circuit breakers of the endpoints."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._breakers: dict[str, CircuitBreaker] = {}
        self._outcomes: list[Settled] = []
        self._in_flight = 0
        self._claim_at = 0.0
        self._logged_at: dict[str, float] = {}

    def run(self, db: Transactions, background: Background, endpoints: Callable[[], Endpoints]) -> None:
        """Send for a second. A process that drains claims nothing more, and settles what is in flight."""
        until = time.monotonic() + RUN_S
        while time.monotonic() < until or (health.draining and self._is_busy and time.monotonic() < until + DRAIN_S):
            if not self.step(db, background, endpoints()):
                if health.draining and not self._is_busy:
                    return
                time.sleep(OUTCOME_PAUSE_S if self._in_flight else LOOK_PAUSE_S)

    def step(self, db: Transactions, background: Background, endpoints: Endpoints) -> bool:
        """Settle what came back, and send what is due. Return whether there was anything."""
        settled = self._settle(db)
        if health.draining or not (settled or time.monotonic() >= self._claim_at):
            return settled
        self._claim_at = time.monotonic() + LOOK_PAUSE_S
        claimed = self._claim(db, background, endpoints)
        for each, endpoint in claimed:
            if each.event is None:
                self._outcomes.append(Settled(each, endpoint))
            else:
                self._in_flight += 1
                background.run(_key(endpoint), partial(self._send, endpoint, each, each.event))
        return settled or bool(claimed)

    @property
    def _is_busy(self) -> bool:
        return self._in_flight > 0 or bool(self._outcomes)

    def _settle(self, db: Transactions) -> bool:
        """Settle all that came back. In an outage it stays here, and is settled later."""
        outcomes = self._outcomes[:SETTLED_AT_ONCE]
        if outcomes:
            settle(db, outcomes)
            del self._outcomes[: len(outcomes)]
        return bool(outcomes)

    def _claim(self, db: Transactions, background: Background, endpoints: Endpoints) -> list[tuple[Claimed, Endpoint]]:
        wanted = self._wanted(background, endpoints)
        found = claim(db, wanted) if wanted else []
        return [(each, wanted[each.lane.endpoint_id][0]) for each in found]

    def _wanted(self, background: Background, endpoints: Endpoints) -> Mapping[int, tuple[Endpoint, int]]:
        """Return the endpoints to which something may be sent now, with how much, by their ids."""
        wanted: dict[int, tuple[Endpoint, int]] = {}
        share = max(1, CLAIMED_AT_ONCE // max(1, len(endpoints)))
        for name, endpoint in endpoints.items():
            endpoint_id = self._registry.ids.get(name)
            if endpoint_id is None:
                continue
            breaker = self._breakers.setdefault(name, CircuitBreaker())
            free = breaker.admit(endpoint.concurrency - background.running(_key(endpoint)))
            if free > 0:
                wanted[endpoint_id] = endpoint, min(free, share)
        return wanted

    def _send(self, endpoint: Endpoint, claimed: Claimed, event: Event) -> None:
        try:
            if time.monotonic() > claimed.send_until:  # the process stood still: the lane may be another one's by now
                return
            result = self._attempt(endpoint, claimed, event)
            self._outcomes.append(Settled(claimed, endpoint, result))
            self._tell(endpoint, event, result)
        finally:
            self._in_flight -= 1

    def _attempt(self, endpoint: Endpoint, claimed: Claimed, event: Event) -> Result:
        try:
            return attempt(endpoint, event, claimed.failures, gap=claimed.gap)
        except Exception as error:
            log.exception("a delivery failed in an unforeseen way", endpoint=endpoint.name)
            return failed(endpoint, claimed.failures, f"unforeseen: {type(error).__name__}")

    def _tell(self, endpoint: Endpoint, event: Event, result: Result) -> None:
        metrics.ATTEMPTS.labels(endpoint.name, result.outcome).inc()
        metrics.ATTEMPT_SECONDS.labels(endpoint.name).observe(result.took_s)
        if result.is_delivered:
            metrics.DELAY_SECONDS.labels(endpoint.name).observe(max(0.0, time.time() - event.timestamp.timestamp()))
        breaker = self._breakers[endpoint.name]
        was_open = breaker.is_open
        breaker.record(failed=result.is_endpoint_s)
        if breaker.is_open != was_open:
            metrics.CIRCUIT_OPEN.labels(endpoint.name).set(breaker.is_open)
            state = "open" if breaker.is_open else "closed"
            log.warning("circuit breaker of the endpoint", state=state, endpoint=endpoint.name, reason=result.failure)
        elif not result.is_delivered and not was_open and self._may_log(endpoint):
            log.warning(
                "endpoint did not take an event",
                endpoint=endpoint.name,
                type=event.type,
                reason=result.failure,
                given_up=result.outcome == "given_up",
            )

    def _may_log(self, endpoint: Endpoint) -> bool:
        """Return whether there was no line about this endpoint's failures lately: each is kept, and counted."""
        now = time.monotonic()
        is_quiet = now - self._logged_at.get(endpoint.name, now - LOG_PAUSE_S) >= LOG_PAUSE_S
        if is_quiet:
            self._logged_at[endpoint.name] = now
        return is_quiet


def _key(endpoint: Endpoint) -> str:
    return f"endpoint {endpoint.name}"
