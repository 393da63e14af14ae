"""The proxies on the edges between the parts of a cluster, as one child process that is told what weather to make."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from realmate.local.ports import free_port
from scripted import ScriptedChild

PROGRAM = Path(__file__).with_name("proxy.py")


class Weather(StrEnum):
    FAIR = "fair"
    BLACKHOLE = "blackhole"  #: Nothing passes, either way.
    ONE_WAY = "one way"  #: Requests arrive, answers do not.
    DELAY = "delay"  #: Everything passes, late.
    RESET = "reset"  #: Connections are cut, and new ones too.


class Edge(msgspec.Struct, frozen=True):
    name: str
    port: int
    upstream: int
    """Ports on 127.0.0.1."""


class Map(msgspec.Struct, frozen=True):
    control: int
    edges: list[Edge]


class Proxies(ScriptedChild):
    def __init__(self, log: Path) -> None:
        super().__init__("the proxies", log)
        self._control = free_port()
        self._edges: list[Edge] = []

    def between(self, name: str, upstream: int) -> int:
        """A new edge's port. Several edges may have one name: they share their weather. Call before `start`."""
        self._edges.append(Edge(name, free_port(), upstream))
        return self._edges[-1].port

    def start(self) -> None:
        self._spawn_script(PROGRAM, Map(self._control, self._edges))
        self._wait_until(self._listens)

    @contextmanager
    def weather(self, name: str, weather: Weather) -> Iterator[None]:
        self._order(name, weather)
        try:
            yield
        finally:
            self._order(name, Weather.FAIR)

    def move(self, name: str, *upstreams: int) -> None:
        """Lead new connections of all edges of this name to these ports, in the order of preference.

        Connections that are open stay where they are.
        """
        self._order(name, list(upstreams))

    def _order(self, name: str, order: Weather | list[int]) -> None:
        with socket.create_connection(("127.0.0.1", self._control), timeout=10) as control:
            control.sendall(json.dumps([name, order]).encode() + b"\n")
            assert control.recv(16) == b"done\n"

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._control), timeout=1):
            return True
        return False
