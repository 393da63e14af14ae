"""The sources' limits counted in Redis: over all processes, and by each of them while Redis is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from realmate.local.valkey import Valkey
from realmate.runtime.limits import LOCAL_FOR_S, SharedRateLimiter
from realmate.sources.limits import MAX_EVENTS_PER_S, MAX_WINDOW_S, MIN_EVENTS_PER_S, RateLimit

SLOW = RateLimit(events_per_s=0.1, burst=50)


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("limits")) as valkey:
        yield valkey


def take(limiter: SharedRateLimiter, events: int, limit: RateLimit = SLOW, name: str = "shop") -> int:
    return limiter.admit({name: (limit, events)})[name].allowed


def test_several_processes_share_one_limit(valkey: Valkey) -> None:
    limiters = [SharedRateLimiter(valkey.url) for _ in range(4)]
    with ThreadPoolExecutor(len(limiters)) as pool:
        allowed = list(pool.map(lambda limiter: sum(take(limiter, 3) for _ in range(10)), limiters))
    assert sum(allowed) == SLOW.burst


def test_several_sources_in_one_batch_are_counted_apart(valkey: Valkey) -> None:
    wanted = {"shop": (SLOW, 60), "store": (RateLimit(events_per_s=1_000, burst=5), 3)}
    found = SharedRateLimiter(valkey.url).admit(wanted)
    assert (found["shop"].allowed, found["shop"].left) == (50, 0)
    assert found["shop"].retry_after_s == pytest.approx(10, abs=1)
    assert found["shop"].reset_s == pytest.approx(500, abs=1)
    assert (found["store"].allowed, found["store"].left) == (3, 2)


@pytest.mark.parametrize("rate", [MIN_EVENTS_PER_S, 0.1, 1 / 3, 1_000, MAX_EVENTS_PER_S])
def test_redis_counts_every_limit_that_a_file_may_give(valkey: Valkey, rate: float) -> None:
    for burst in (1, max(1, int(rate * MAX_WINDOW_S))):
        limiter, limit = SharedRateLimiter(valkey.url), RateLimit(rate, burst)
        for events in (1, burst, 1):
            take(limiter, events, limit, name=f"burst-{burst}")
            assert not limiter.is_local, "the script failed, and that was taken for an outage"


def test_the_bucket_empties_with_time_and_leaves_nothing_behind(valkey: Valkey) -> None:
    limiter, limit = SharedRateLimiter(valkey.url), RateLimit(events_per_s=50, burst=2)
    assert take(limiter, 5, limit) == 2
    time.sleep(0.2)
    assert take(limiter, 5, limit) == 2


def test_while_redis_is_away_each_process_limits_by_itself(valkey: Valkey) -> None:
    limiter = SharedRateLimiter(valkey.url)
    assert take(limiter, 60) == 50
    valkey.kill()
    assert take(limiter, 60) == 0  # what Redis said last still holds
    assert take(limiter, 60, name="store") == 50  # its own bucket: Redis' is out of sight
    assert take(limiter, 60, name="store") == 0
    valkey.start()
    time.sleep(LOCAL_FOR_S)
    assert take(limiter, 1, name="market") == 1
    assert SharedRateLimiter(valkey.url).admit({"market": (SLOW, 0)})["market"].left == 49


def test_without_redis_there_is_a_limit_all_the_same() -> None:
    assert take(SharedRateLimiter(None), 60) == 50


def test_redis_is_not_asked_again_before_it_can_say_anything_else(valkey: Valkey) -> None:
    limiter, limit = SharedRateLimiter(valkey.url), RateLimit(events_per_s=0.01, burst=1)
    assert take(limiter, 1, limit) == 1
    before = calls(valkey)
    for _ in range(100):
        assert take(limiter, 1, limit) == 0
    assert calls(valkey) <= before + 1
    assert 80 < limiter.admit({"shop": (limit, 1)})["shop"].retry_after_s <= 100
    assert take(limiter, 9, RateLimit(events_per_s=0.01, burst=9)) > 0  # another limit is another question


def test_what_was_used_up_is_open_again_in_time(valkey: Valkey) -> None:
    limiter, limit = SharedRateLimiter(valkey.url), RateLimit(events_per_s=5, burst=1)
    assert take(limiter, 1, limit) == 1
    give_up_at = time.monotonic() + 10
    while take(limiter, 1, limit) == 0:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def calls(valkey: Valkey) -> int:
    with redis.Redis.from_url(valkey.url) as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))
