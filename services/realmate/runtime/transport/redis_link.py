"""The connections of one end of the transport to Redis (or Valkey), 7.0 or newer: how long they wait, and what happens
while it is away.

Used by `redis_caller` and `redis_source` alone. redis-py's own retries are off: it would send a command again without
telling, and who sends again must mark the batch as redelivered.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import eventlet
import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.runtime.transport.interface import TransportUnavailable

BLOCK_S = 1.0
"""How long a blocking read waits in Redis: also how long a stopping process may have to wait for it."""
ANSWER_TIMEOUT_S = 2.0
"""Beyond this a connection that does not answer counts as lost (a hanging server, a cable pulled)."""
BACKOFF_S = (0.02, 1.0)
"""First and longest pause between two attempts, before jitter."""

COMMANDS = "realmate:commands"
GROUP = "conversations"

log = structlog.get_logger(__name__)

T = TypeVar("T")


class RedisLink:
    """Two pools to one server: `reads` for the one greenlet that blocks in Redis, `client` for all others."""

    def __init__(self, url: str, *, connections: int) -> None:
        self.client = _client(url, connections=connections, answer_timeout_s=ANSWER_TIMEOUT_S)
        self.reads = _client(url, connections=1, answer_timeout_s=BLOCK_S + ANSWER_TIMEOUT_S)
        self._failing: set[str] = set()

    def persist(self, activity: str, command: Callable[[], T], *, worthwhile: Callable[[], bool] = lambda: True) -> T:
        """Run `command` until Redis takes it, for as long as that is worthwhile; then TransportUnavailable.

        Whatever Redis says against it (away, LOADING, READONLY, out of memory, wrong password) may pass: retrying is
        for all of it, and the log has the reason.
        """
        pause_s, longest_s = BACKOFF_S
        while True:
            try:
                result = command()
            except (redis.RedisError, OSError) as error:
                self._lost(activity, error)
                if not worthwhile():
                    raise TransportUnavailable(str(error)) from error
            else:
                self._back(activity)
                return result
            eventlet.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, so that replicas spread)
            pause_s = min(pause_s * 2, longest_s)

    def close(self) -> None:
        self.reads.close()
        self.client.close()

    def _lost(self, activity: str, error: Exception) -> None:
        if not self._failing:  # one line an outage, however many greenlets notice it and however often they try
            log.warning("redis lost", activity=activity, error=str(error))
        self._failing.add(activity)

    def _back(self, activity: str) -> None:
        if activity in self._failing:
            self._failing.remove(activity)
            if not self._failing:
                log.info("redis back")


def _client(url: str, *, connections: int, answer_timeout_s: float) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=None,  # a greenlet waits its turn; its caller's deadline bounds that
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # the replies' shapes differ in 3, and between redis-py's versions
    )
    return redis.Redis.from_pool(pool)
