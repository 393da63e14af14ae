"""The sources' limits over all replicas: one script call in Redis for each batch that has limited sources in it.

Redis is not asked again for a source that has used its limit up until the moment it named: nothing but time can open
it. So a source that sends far too much costs little.

While Redis is away each process limits by itself, and a source may send as much to each replica: better too much
than nothing, or than no limit at all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis
import structlog
from nameko.extensions import DependencyProvider
from prometheus_client import Gauge
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.runtime.config import settings_of
from realmate.sources.limits import Allowance, LocalRateLimiter, RateLimit, allowance

ANSWER_TIMEOUT_S = 0.2
"""An event waits no longer for a count. The commit path has its own patience."""
LOCAL_FOR_S = 1.0
"""The time for which Redis is not asked after a failure."""
KEY = "realmate:limit:"

# GCRA as in sources/limits.py, in seconds of Redis' own clock. A key lives until its bucket is empty.
SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local found = {}
for i, key in ipairs(KEYS) do
    local rate, burst, wanted = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    local ahead = math.max(0, (tonumber(redis.call('GET', key)) or now) - now)
    local allowed = math.max(0, math.min(wanted, math.floor(burst - ahead * rate + 1e-6)))
    ahead = ahead + allowed / rate
    if allowed > 0 then
        redis.call('SET', key, string.format('%.6f', now + ahead), 'PX', math.ceil(ahead * 1000))
    end
    found[2 * i - 1] = allowed
    found[2 * i] = string.format('%.6f', ahead)
end
return found
"""

LOCAL = Gauge(
    "realmate_limits_per_process",
    "1 while Redis is away and each process limits its sources by itself",
    multiprocess_mode="livemax",
)

log = structlog.get_logger(__name__)

Wanted = Mapping[str, tuple[RateLimit, int]]
"""The limit of each source, and how many events it wants to send."""


class _UsedUp(NamedTuple):
    """What Redis said of a source. Moments are time.monotonic()."""

    limit: RateLimit
    until: float
    """Nothing is allowed before; in the past where something was left."""
    reset_at: float


class SharedRateLimiter:
    """Counts in Redis, and by itself where there is none."""

    def __init__(self, url: str | None) -> None:
        self._local = LocalRateLimiter()
        self._redis = None if url is None else _client(url)
        self._script = None if self._redis is None else self._redis.register_script(SCRIPT)
        self._used_up: dict[str, _UsedUp] = {}
        self._local_until = 0.0
        self._away = False

    @property
    def is_local(self) -> bool:
        """Whether this process limits by itself, because Redis did not count when it was asked last."""
        return self._away

    def admit(self, wanted: Wanted) -> dict[str, Allowance]:
        """Allow as many as the limits let through of the events wanted, by source."""
        now = time.monotonic()
        found: dict[str, Allowance] = {}
        asked: dict[str, tuple[RateLimit, int]] = {}
        for name, (limit, events) in wanted.items():
            used_up = self._used_up.get(name)
            if used_up is not None and used_up.limit == limit and now < used_up.until:
                found[name] = Allowance(0, 0, used_up.until - now, used_up.reset_at - now)
            else:
                asked[name] = (limit, events)
        if asked:
            counted = self._count(asked)
            for name, (limit, _) in asked.items():
                self._used_up[name] = _UsedUp(limit, now + counted[name].retry_after_s, now + counted[name].reset_s)
            found |= counted
        return found

    def _count(self, wanted: Wanted) -> dict[str, Allowance]:
        if self._script is None or time.monotonic() < self._local_until:
            return self._local.admit(wanted)
        try:
            found = self._script(
                keys=[KEY + name for name in wanted],
                args=[
                    argument
                    for limit, events in wanted.values()
                    for argument in (limit.events_per_s, limit.burst, events)
                ],
            )
        except (redis.RedisError, OSError) as error:
            self._lose(error)
            return self._local.admit(wanted)
        self._find()
        pairs = zip(found[::2], found[1::2], strict=True)
        return {
            name: allowance(limit, allowed, float(ahead_s))
            for (name, (limit, _)), (allowed, ahead_s) in zip(wanted.items(), pairs, strict=True)
        }

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()

    def _lose(self, error: Exception) -> None:
        self._local_until = time.monotonic() + LOCAL_FOR_S
        if not self._away:
            log.warning("redis lost: each process limits its sources by itself", error=str(error))
        self._away = True
        LOCAL.set(1)

    def _find(self) -> None:
        if self._away:
            log.info("redis back: the sources are limited over all processes")
            self._away = False
            LOCAL.set(0)


class Limits(DependencyProvider):
    """Injects a SharedRateLimiter."""

    def setup(self) -> None:
        self._limiter = SharedRateLimiter(settings_of(self.container).redis)

    def get_dependency(self, worker_ctx: Any) -> SharedRateLimiter:  # noqa: ARG002 (Nameko's signature)
        return self._limiter

    def stop(self) -> None:
        self._limiter.close()

    kill = stop


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
