"""The connections of one end of the transport to Redis (or Valkey), 7.0 or newer, and how long they wait.

Used by `redis_caller` and `redis_source` alone. redis-py's own retries are off: it would send a command again without
telling, and who sends again must mark the batch as redelivered.
"""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.runtime.transport.outage import Outage

BLOCK_S = 1.0
"""How long a blocking read waits in Redis: also how long a stopping process may have to wait for it."""
ANSWER_TIMEOUT_S = 2.0
"""Beyond this a connection that does not answer counts as lost (a hanging server, a cable pulled)."""

COMMANDS = "realmate:commands"
GROUP = "conversations"


class RedisLink:
    """Two pools to one server: `reads` for the one greenlet that blocks in Redis, `client` for all others."""

    def __init__(self, url: str, *, connections: int) -> None:
        self.client = _client(url, connections=connections, answer_timeout_s=ANSWER_TIMEOUT_S)
        self.reads = _client(url, connections=1, answer_timeout_s=BLOCK_S + ANSWER_TIMEOUT_S)
        self.persist = Outage("redis", (redis.RedisError, OSError)).persist

    def close(self) -> None:
        self.reads.close()
        self.client.close()


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
