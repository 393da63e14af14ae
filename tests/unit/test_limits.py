"""How fast a source may send: by one process, and by all processes that share a Redis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.sources.limits import MAX_EVENTS_PER_S, MAX_WINDOW_S, MIN_EVENTS_PER_S, LocalRateLimiter, RateLimit
from realmate.wire.answers import too_many

LIMIT = RateLimit(events_per_s=10, burst=5)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("realmate.sources.limits.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def take(limiter: LocalRateLimiter, events: int, limit: RateLimit = LIMIT) -> int:
    return limiter.admit({"shop": (limit, events)})["shop"].allowed


def test_a_burst_passes_and_then_one_an_interval(clock: Clock) -> None:
    limiter = LocalRateLimiter()
    assert take(limiter, 8) == 5
    assert take(limiter, 1) == 0
    clock.now += 0.1
    assert take(limiter, 2) == 1
    clock.now += 10
    assert take(limiter, 8) == 5


def test_what_is_left_and_when_to_come_again_are_told(clock: Clock) -> None:
    limiter = LocalRateLimiter()
    first = limiter.admit({"shop": (LIMIT, 3)})["shop"]
    assert (first.allowed, first.left, first.retry_after_s) == (3, 2, 0)
    second = limiter.admit({"shop": (LIMIT, 3)})["shop"]
    assert (second.allowed, second.left) == (2, 0)
    assert second.retry_after_s == pytest.approx(0.1)
    assert second.reset_s == pytest.approx(0.5)
    clock.now += second.retry_after_s
    assert take(limiter, 1) == 1


def test_one_source_s_events_are_not_another_s() -> None:
    allowed = LocalRateLimiter().admit({"shop": (LIMIT, 9), "store": (LIMIT, 4)})
    assert (allowed["shop"].allowed, allowed["store"].allowed) == (5, 4)


@given(
    st.floats(0.1, 100_000),
    st.integers(1, 1_000),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 300)), min_size=1, max_size=50),
)
def test_never_more_than_the_burst_and_the_rate_and_never_less(
    rate: float, burst: int, arrivals: list[tuple[float, int]]
) -> None:
    """Against the definition: a bucket that holds `burst` and leaks `rate` a second."""
    limit, limiter = RateLimit(rate, burst), LocalRateLimiter()
    level, now = 0.0, 1_000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("realmate.sources.limits.time.monotonic", lambda: now)
        for pause_s, events in arrivals:
            now += pause_s
            level = max(0.0, level - pause_s * rate)
            allowed = take(limiter, events, limit)
            assert level + allowed <= burst + 1e-3
            assert allowed == events or level + allowed + 1 > burst - 1e-3
            level += allowed


@given(st.floats(MIN_EVENTS_PER_S, MAX_EVENTS_PER_S), st.floats(0, 1), st.integers(1, 10_000))
def test_every_limit_that_a_file_may_give_can_be_counted_and_told(rate: float, share: float, events: int) -> None:
    limit = RateLimit(rate, max(1, int(share * rate * MAX_WINDOW_S)))
    limiter = LocalRateLimiter()
    for _ in range(3):
        response = too_many("shop", limit, limiter.admit({"shop": (limit, events)})["shop"])
        assert response.status == 429
