"""The connections of one end of the transport to Redis (or Valkey), 7.0 or newer, and how long they wait.

Used by `redis_caller` and `redis_source` alone. redis-py's own retries are off: it would send a command again without
telling, and who sends again must mark the batch as redelivered.
"""

from __future__ import annotations

from typing import Any

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

Command = tuple[str | bytes | int, ...]


class RedisLink:
    """`lines` are for what every batch needs, `reading_lines` the same where Redis may block, `client` for all else."""

    def __init__(self, url: str) -> None:
        pool = _pool(url, answer_timeout_s=ANSWER_TIMEOUT_S)
        self.lines = Lines(pool)
        self.reading_lines = Lines(_pool(url, answer_timeout_s=BLOCK_S + ANSWER_TIMEOUT_S))
        self.client = redis.Redis.from_pool(pool)
        self.persist = Outage("redis", (redis.RedisError, OSError)).persist

    def close(self) -> None:
        self.lines.close()
        self.reading_lines.close()
        self.client.close()


class Lines:
    """Straight over redis-py's connections: its client on top of them (pool, retry, telemetry, callbacks) doubles the
    cost of a command, from 30 us to 60."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[Any] = []

    def ask(self, *commands: Command) -> list[Any]:
        """Send the commands together and wait for the answer to each, as Redis gives it. Raises RedisError.

        If one is refused, those after it run all the same.
        """
        connection = self._take()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            answers = [_read(connection) for _ in commands]
        except BaseException:
            connection.disconnect()  # nobody must take what comes yet for an answer to something else
            raise
        self._idle.append(connection)
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                raise answer
        return answers

    def close(self) -> None:
        for connection in self._idle:
            connection.disconnect()

    def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not _is_stale(connection):
                return connection
            connection.disconnect()
        return _connection(self._pool)


def _is_stale(connection: Any) -> bool:
    """Closed by Redis while it was idle, or with something on it that nobody waits for."""
    try:
        return bool(connection.can_read())
    except (redis.RedisError, OSError):
        return True


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as refusal:
        return refusal


def subscription(url: str) -> Any:
    """A connection that is to be read again and again: a read that took `BLOCK_S` in vain raises redis.TimeoutError."""
    return _connection(_pool(url, answer_timeout_s=BLOCK_S))


def _connection(pool: redis.ConnectionPool) -> Any:
    """Not connected yet. (`pool.make_connection` counts what it ever made, and makes a hundred.)"""
    return pool.connection_class(**pool.connection_kwargs)


def _pool(url: str, *, answer_timeout_s: float) -> redis.ConnectionPool:
    return redis.ConnectionPool.from_url(
        url,
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # the replies' shapes differ in 3, and between redis-py's versions
    )
