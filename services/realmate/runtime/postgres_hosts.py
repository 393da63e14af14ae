"""Several hosts in one DATABASE_URL, tried one after the other.

libpq would do it too. But under eventlet it is driven without its own timeout for each host, so a first host that takes
connections and never answers would be waited for again and again, and the second never reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import psycopg2

T = TypeVar("T")
Parameters = dict[str, Any]
Bounded = Callable[[float], AbstractContextManager[None]]
"""Raises psycopg2.OperationalError in its block after so many seconds."""

_last_good: dict[str, str] = {}
"""The host, with its port, that took the last connection, by all of the hosts."""


def unbounded(_seconds: float) -> AbstractContextManager[None]:
    """Bound nothing, in a process in which libpq keeps `connect_timeout` itself."""
    return nullcontext()


def open_first(parameters: Parameters, open_one: Callable[[Parameters], T], bounded: Bounded) -> T:
    """Return what `open_one` makes of the first host that accepts. Raises what the last host raised."""
    choices = list(_single(parameters))
    name = f"{parameters.get('host')} {parameters.get('port')}"
    choices.sort(key=lambda choice: _address(choice) != _last_good.get(name))
    for choice in choices:
        try:
            with bounded(float(parameters["connect_timeout"])):
                opened = open_one(choice)
        except psycopg2.OperationalError:
            if choice is choices[-1]:
                raise
        else:
            _last_good[name] = _address(choice)
            return opened
    raise AssertionError("there is always a host to try")


def _single(parameters: Parameters) -> Iterator[Parameters]:
    """Yield the parameters with each host alone. Hosts that libpq itself has to compare or to shuffle stay together."""
    hosts = str(parameters.get("host", "")).split(",")
    compares = str(parameters.get("target_session_attrs", "")).startswith("prefer")
    if len(hosts) == 1 or compares or "hostaddr" in parameters or "load_balance_hosts" in parameters:
        yield parameters
        return
    ports = str(parameters.get("port", "")).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    for host, port in zip(hosts, ports, strict=False):
        yield {**parameters, "host": host, "port": port or None}


def _address(parameters: Parameters) -> str:
    return f"{parameters.get('host')}:{parameters.get('port')}"
