"""A TCP proxy on every edge between two parts, which makes the weather there: a network that loses, delays and cuts.

An edge can also be told that its address has moved. New connections then go to the new place, while old connections
stay where they are, as they do after a change in DNS or behind a load balancer. Where an edge has several addresses, a
new connection goes to the first one that accepts it.

A partition is drawn as a network makes it: nothing comes through, neither bytes nor the news that a connection was
closed, and what was under way arrives when it is over. One process has all edges; `proxies` starts and steers it.
Run as `proxy.py JSON`, the JSON being a `Map`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import deque
from functools import partial
from typing import Any

import msgspec

from proxies import Edge, Map, Weather

DELAY_S = 0.15
"""Each way, beside what else is slow."""
RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Sky:
    """The weather of one name, and the pipes below it."""

    def __init__(self) -> None:
        self.weather = Weather.FAIR
        self.moved_to: list[int] | None = None
        """The ports that new connections go to, once the address has moved."""
        self.pipes: set[Pipe] = set()
        self.open = asyncio.Event()
        self.open.set()

    def become(self, weather: Weather) -> None:
        self.weather = weather
        (self.open.clear if weather in {Weather.BLACKHOLE, Weather.ONE_WAY} else self.open.set)()
        for pipe in list(self.pipes):
            pipe.feel(weather)


class End(asyncio.Protocol):
    """One of a pipe's two connections: what it receives goes out at the other, through a queue that can be slow."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.other: End | None = None
        self.transport: Any = None
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._pump: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def eof_received(self) -> bool:
        self._send(None)
        return True  # the other direction may still have something to say

    def connection_lost(self, _error: Exception | None) -> None:
        self._send(None)
        self.pipe.lost(self)

    def _send(self, data: bytes | None) -> None:
        """None is the end of it."""
        loop = asyncio.get_running_loop()
        late = self.pipe.sky.weather is Weather.DELAY
        self._under_way.append((loop.time() + (DELAY_S if late else 0), data))
        if self._pump is None:
            self._flow()

    def _flow(self) -> None:
        """Pass on what is due, in its order: what was delayed is not overtaken."""
        self._pump = None
        loop = asyncio.get_running_loop()
        while self._under_way and self.other and self.other.transport:
            due, data = self._under_way[0]
            if due > loop.time():
                self._pump = loop.call_at(due, self._flow)
                return
            self._under_way.popleft()
            if data is None:
                self.other.transport.close()
            else:
                self.other.transport.write(data)


class Pipe:
    """A client's connection and ours to the server behind."""

    def __init__(self, sky: Sky, edge: Edge) -> None:
        self.sky = sky
        self._edge = edge
        self.client = End(self)
        self.server = End(self)
        self.client.other, self.server.other = self.server, self.client
        self._lost = 0

    def accept(self) -> End:
        self.sky.pipes.add(self)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())
        return self.client

    def feel(self, weather: Weather) -> None:
        if weather is Weather.RESET:
            self.cut()
            return
        silent = {Weather.BLACKHOLE: (self.client, self.server), Weather.ONE_WAY: (self.server,)}.get(weather, ())
        for end in (self.client, self.server):
            if end.transport and not end.transport.is_closing():
                # Unread, an end's closing is not noticed either: that news is lost in a partition, too.
                (end.transport.pause_reading if end in silent else end.transport.resume_reading)()

    def cut(self) -> None:
        """With a RST to both."""
        self._connecting.cancel()
        for end in (self.client, self.server):
            if end.transport:
                plug = end.transport.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
                end.transport.abort()
        self.sky.pipes.discard(self)

    def lost(self, _end: End) -> None:
        self._lost += 1
        if self._lost == 2:
            self.sky.pipes.discard(self)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        if self.sky.weather is Weather.RESET:
            await asyncio.sleep(0)  # until the client's end has its transport
            self.cut()
            return
        await self.sky.open.wait()
        for port in self.sky.moved_to or [self._edge.upstream]:
            try:
                await loop.create_connection(lambda: self.server, "127.0.0.1", port)
            except OSError:
                continue
            self.feel(self.sky.weather)
            self.client._flow()  # noqa: SLF001 (what came while there was nowhere to send it)
            return
        self.cut()


async def serve(chart: Map) -> None:
    skies = {edge.name: Sky() for edge in chart.edges}

    async def steer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if line := await reader.readline():
                name, order = json.loads(line)
                if isinstance(order, list):
                    skies[name].moved_to = order
                else:
                    skies[name].become(Weather(order))
                writer.write(b"done\n")
                await writer.drain()
            writer.close()

    def accept(edge: Edge) -> End:
        return Pipe(skies[edge.name], edge).accept()

    loop = asyncio.get_running_loop()
    for edge in chart.edges:
        await loop.create_server(partial(accept, edge), "127.0.0.1", edge.port)
    control = await asyncio.start_server(steer, "127.0.0.1", chart.control)
    await control.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Map)))
