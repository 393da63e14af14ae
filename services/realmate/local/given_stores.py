"""Servers that somebody else runs, named by DATABASE_URL, REDIS_URL and TRANSPORT_URL: do they answer, before anything
is started?
"""

from __future__ import annotations

from urllib.parse import urlsplit

import kombu
import psycopg2
import redis
from amqp.exceptions import AMQPError
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.local.child import LocalError
from realmate.runtime.postgres import connect

CONNECT_TIMEOUT_S = 5


def check_database(url: str) -> None:
    """Raises LocalError when the PostgreSQL at `url` does not let us in."""
    try:
        connect(url, "realmate-up", connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg2.Error as error:
        raise LocalError(f"cannot use the database at DATABASE_URL: {_first_line(error)}") from error


def check_redis(url: str, *, setting: str = "REDIS_URL") -> None:
    """Raises LocalError when the Redis at `url` does not let us in."""
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:  # ValueError: the URL's port or database is no number
        raise LocalError(f"cannot use the Redis at {setting}: {_first_line(error)}") from error


def check_transport(url: str) -> None:
    """Raises LocalError when the broker at `url` does not let us in."""
    if not urlsplit(url).scheme.startswith("amqp"):
        check_redis(url, setting="TRANSPORT_URL")
        return
    try:
        with kombu.Connection(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.ensure_connection(max_retries=0)
    except (OSError, AMQPError, kombu.exceptions.KombuError, ValueError) as error:
        raise LocalError(f"cannot use the RabbitMQ at TRANSPORT_URL: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
