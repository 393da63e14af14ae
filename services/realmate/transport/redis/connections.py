"""The connections of one end of the transport to Redis (or Valkey), 7.0 or newer, and how long they wait.

Only `caller` and `consumer` use this module. redis-py's own retries are off: it would send a command again without
telling, and who sends again must mark the batch as redelivered.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.transport.broker_state import BrokerState
from realmate.transport.redis.errors import explain

BLOCK_S = 1.0
"""How long a blocking read waits in Redis. A stopping process may have to wait as long."""
ANSWER_TIMEOUT_S = 2.0
"""The time after which a connection that does not answer counts as lost (a hanging server, a cable pulled)."""

MAX_AGE_S = 60.0
"""The greatest age of a connection.

It is opened anew after half of this to all of it: an address may have moved silently.
"""

COMMANDS = "realmate:commands"
GROUP = "conversations"
RESPONSES = "realmate:replies:"
"""The prefix of each channel for responses."""

Command = tuple[str | bytes | int, ...]


class Response(msgspec.Struct, array_like=True, omit_defaults=True):
    """A message on a channel for responses. Without a seal it has two parts, as every version reads it."""

    batch_id: str
    payload: bytes
    seal: str = ""


class RedisConnections:
    """`lines` are for what every batch needs, `reading_lines` the same where Redis may block."""

    def __init__(self, url: str) -> None:
        self.commands = CommandPool(_pool(url, answer_timeout_s=ANSWER_TIMEOUT_S))
        self.blocking = CommandPool(_pool(url, answer_timeout_s=BLOCK_S + ANSWER_TIMEOUT_S))
        self.broker = BrokerState("redis", (redis.RedisError, OSError))
        self.retry = self.broker.retry

    def check(self, activity: str) -> None:
        """Raise NotReady while the activity, which is tried again and again, fails."""
        if error := self.broker.failure_of(activity):
            raise explain(error) from error

    def close(self) -> None:
        self.commands.close()
        self.blocking.close()


@dataclass(slots=True)
class _PooledConnection:
    connection: Any
    generation: int
    renew_at: float


class CommandPool:
    """Straight over redis-py's connections: its client on top of them (pool, retry, telemetry, callbacks) doubles the
    cost of a command, from 30 us to 60.

    Whoever answers a command with a rejection (a replica, a server that loads, rights that changed) may not be the
    server that the address means any more. So a rejection gives up its connection and all idle ones, and what comes
    next connects anew, by the name. A connection also has a greatest age: an old server that lives on rejects nothing.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[_PooledConnection] = []
        self._generation = 0

    def ask(self, *commands: Command) -> list[Any]:
        """Send the commands together and wait for the answer to each, as Redis gives it. Raises RedisError.

        If one is rejected, those after it run all the same.
        """
        return self._answers(commands, expected=None)

    def rehearse(self, command: Command, *, expected: str) -> None:
        """Send a command that Redis rejects in the words `expected`, and only after it has checked everything else.

        Raises RedisError, where Redis has another reason to reject it.
        """
        self._answers([command], expected=expected)

    def close(self) -> None:
        for line in self._idle:
            line.connection.disconnect()
        self._idle.clear()

    def _answers(self, commands: Sequence[Command], *, expected: str | None) -> list[Any]:
        line = self._take()
        try:
            line.connection.send_packed_command(line.connection.pack_commands(commands), check_health=False)
            answers = [_read(line.connection) for _ in commands]
        except BaseException:
            line.connection.disconnect()  # nobody must take what comes yet for an answer to something else
            raise
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, redis.ResponseError) and (expected is None or expected not in str(answer)):
                line.connection.disconnect()
                self._renew()
                answer.asked = " ".join(str(part) for part in command[:2])  # type: ignore[attr-defined]
                raise answer
        self._put_back(line)
        return answers

    def _renew(self) -> None:
        self._generation += 1
        self.close()

    def _put_back(self, line: _PooledConnection) -> None:
        if line.generation == self._generation:
            self._idle.append(line)
        else:
            line.connection.disconnect()

    def _take(self) -> _PooledConnection:
        now = time.monotonic()
        while self._idle:
            line = self._idle.pop()
            if now < line.renew_at and not _is_stale(line.connection):
                return line
            line.connection.disconnect()
        age_s = MAX_AGE_S * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, so that not all connect at once)
        return _PooledConnection(_connection(self._pool), self._generation, now + age_s)


def _is_stale(connection: Any) -> bool:
    """Closed by Redis while it was idle, or with something on it that nobody waits for."""
    try:
        return bool(connection.can_read())
    except (redis.RedisError, OSError):
        return True


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as rejection:
        return rejection


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
        protocol=2,  # the responses' shapes differ in 3, and between redis-py's versions
    )
