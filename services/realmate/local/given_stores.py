"""Stores that somebody else runs, named by DATABASE_URL and REDIS_URL: do they answer, before anything is started?"""

from __future__ import annotations

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.local.child import LocalError

CONNECT_TIMEOUT_S = 5


def check_database(url: str) -> None:
    """Raises LocalError when the PostgreSQL at `url` does not let us in."""
    try:
        psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg2.Error as error:
        raise LocalError(f"cannot use the database at DATABASE_URL: {_first_line(error)}") from error


def check_redis(url: str) -> None:
    """Raises LocalError when the Redis at `url` does not let us in."""
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:  # ValueError: the URL's port or database is no number
        raise LocalError(f"cannot use the Redis at REDIS_URL: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
