"""Redis' errors, explained to a person. Readiness shows the explanations to everybody."""

from __future__ import annotations

import re

import redis
from redis import exceptions

from realmate.runtime.health import NotReady

CLUSTER = "Redis is a cluster; Realmate needs one server, or a primary with its replicas"

BY_TYPE: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ReadOnlyError, "Redis is a read-only replica"),
    (exceptions.OutOfMemoryError, "Redis has no memory left (its maxmemory) and takes no writes"),
    (exceptions.BusyLoadingError, "Redis is still loading its data"),
    (exceptions.AuthenticationError, "Redis rejects the user or the password"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "Redis rejects the user or the password"),
    (exceptions.MovedError, CLUSTER),
    (exceptions.AskError, CLUSTER),
    (exceptions.ClusterCrossSlotError, CLUSTER),
    (exceptions.MasterDownError, "Redis is a replica that has lost its primary"),
    (exceptions.ClusterDownError, "the Redis cluster is down"),
    (exceptions.TimeoutError, "Redis does not answer"),
)
BY_CODE = {
    "NOAUTH": "Redis wants a password",
    "WRONGPASS": "Redis rejects the user or the password",
    "MISCONF": "Redis cannot write to its disk and takes no writes",
    "NOREPLICAS": "Redis has too few replicas and takes no writes",
    "UNBLOCKED": "Redis has just become a replica",
    "BUSY": "Redis is busy with a script",
    "CLUSTERDOWN": "the Redis cluster is down",
}


def explain(error: Exception) -> NotReady:
    """Why Redis does not do what was asked. It names the command and its first key where rights are missing."""
    if isinstance(error, exceptions.NoPermissionError):
        asked = getattr(error, "asked", "")
        said = re.sub(r"^User \S+ has", "this user has", str(error))
        return NotReady(f"Redis rejects {asked or 'a command'} by its rights: {said}")
    for kind, words in BY_TYPE:
        if isinstance(error, kind):
            return NotReady(words)
    if isinstance(error, redis.ResponseError):
        code = str(error).partition(" ")[0]
        return NotReady(BY_CODE.get(code, f"Redis rejects {getattr(error, 'asked', 'a command')}: {code}"))
    return NotReady("Redis cannot be reached")
