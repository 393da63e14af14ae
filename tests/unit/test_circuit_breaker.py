"""When the circuit breaker opens, and when it lets a request through."""

from __future__ import annotations

import pytest

from realmate.egress import circuit_breaker
from realmate.egress.circuit_breaker import CircuitBreaker


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuit_breaker, "time", clock)
    return clock


def fail(breaker: CircuitBreaker, times: int = CircuitBreaker.FAILURES) -> None:
    for _ in range(times):
        breaker.record(failed=True)


def test_a_few_failures_change_nothing(clock: Clock) -> None:  # noqa: ARG001
    breaker = CircuitBreaker()
    fail(breaker, CircuitBreaker.FAILURES - 1)
    breaker.record(failed=False)
    fail(breaker, CircuitBreaker.FAILURES - 1)
    assert not breaker.is_open
    assert breaker.admit(8) == 8


def test_after_many_in_a_row_nobody_calls_then_one_tries(clock: Clock) -> None:
    breaker = CircuitBreaker()
    fail(breaker)
    assert breaker.is_open
    assert breaker.admit(8) == 0
    clock.now += CircuitBreaker.PAUSE_S
    assert breaker.admit(8) == 1
    assert breaker.admit(8) == 0
    breaker.record(failed=True)
    clock.now += CircuitBreaker.PAUSE_S / 2
    assert breaker.admit(8) == 0
    clock.now += CircuitBreaker.PAUSE_S
    assert breaker.admit(8) == 1
    breaker.record(failed=False)
    assert breaker.admit(8) == 8


def test_without_a_free_place_no_try_is_lost(clock: Clock) -> None:
    breaker = CircuitBreaker()
    fail(breaker)
    clock.now += CircuitBreaker.PAUSE_S
    assert breaker.admit(0) == 0
    assert breaker.admit(8) == 1
