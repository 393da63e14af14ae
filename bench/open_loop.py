"""Sends events at a fixed rate, whether Realmate keeps up or not: what wrk2 does, with our events. Its own process.

    python bench/open_loop.py URL --connections 64 --rate 5000 --seconds 10 [--report-s 60]

Event i is DUE at start + i / rate. The connection that has been free longest takes the next due event; is none free,
the event waits. Its latency counts from the moment it was due: a stall is paid by every event that fell due meanwhile,
not by the one that met it (no "coordinated omission"). Latencies go into buckets 1 % wide, so an hour takes no more
memory than a second; the percentile told is its bucket's upper end.

What this process itself sent late (an event was due, a connection was free, and the generator was elsewhere) is part of
the latencies, and is told beside them (`late_ms`): well below them it does no harm.

It prints reports, one line of JSON each: one every --report-s seconds, one of the time since the last such, and one of
the whole. fixed_rate.py reads them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import random
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import click

MESSAGES = 10
CONTENT = "Olá, quero alugar um apartamento de dois quartos."
READY, REFILL = 4096, 16
"""Requests made beforehand, and how many of them are made at once (30 µs) while nothing is due."""
PATIENCE_S = 10.0
"""How long after the last event was due we wait for answers."""
TICK_S = 1.0
LAST_BYTE = ord("}")
"""Of every answer to an event, and nowhere else in one: a flat JSON object."""
BUCKETS_PER_E = 1 / math.log(1.01)
BUCKETS = 2048  # of 1 %: from 1 µs to 12 minutes
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
PR_SET_TIMERSLACK = 29  # prctl(2)


class Histogram:
    """Durations of 1 µs and more by their logarithm."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.longest_s = 0.0

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.longest_s = max(self.longest_s, other.longest_s)

    def milliseconds(self) -> dict[str, float]:
        return {**{name: 1e3 * self._at(share) for name, share in PERCENTILES.items()}, "max": 1e3 * self.longest_s}

    def _at(self, share: float) -> float:
        wanted = share * sum(self.counts)
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(math.exp((bucket + 1) / BUCKETS_PER_E) / 1e6, self.longest_s)
        return 0.0


class Tally:
    """What became of the events of some time."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.latencies = Histogram()
        self.lateness = Histogram()
        self.statuses: Counter[bytes] = Counter()
        self.socket_errors = 0
        self.unsent = 0

    def add(self, other: Tally) -> None:
        self.latencies.add(other.latencies)
        self.lateness.add(other.lateness)
        self.statuses += other.statuses
        self.socket_errors += other.socket_errors
        self.unsent += other.unsent

    def report(self, until: float) -> dict[str, Any]:
        answered = sum(self.statuses.values())
        return {
            "events": answered,
            "per_second": answered / (until - self.started_at),
            "latency_ms": self.latencies.milliseconds(),
            "late_ms": self.lateness.milliseconds(),
            "statuses": {status.decode(): count for status, count in self.statuses.items()},
            "socket_errors": self.socket_errors,
            "unsent": self.unsent,
        }


def requests(host: str, path: str, conversations_in_play: int) -> Iterator[bytes]:
    """Endless requests of the mix that webhook.lua sends, in its order; there is the reason for it."""
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    opening = f'{{"type":"NEW_CONVERSATION","timestamp":"{timestamp}","data":{{"id":"%s"}}}}'
    message = (
        f'{{"type":"NEW_MESSAGE","timestamp":"{timestamp}",'
        f'"data":{{"id":"%s","content":"{CONTENT}","conversation_id":"%s"}}}}'
    )
    open_request, message_request = (_request(host, path, body) for body in (opening, message))
    turns = range(conversations_in_play)
    conversations, messages_left = [""] * conversations_in_play, [0] * conversations_in_play

    def opened(turn: int, messages: int) -> bytes:
        conversations[turn], messages_left[turn] = _uuid(), messages
        return (open_request % conversations[turn]).encode()

    for turn in turns:
        yield opened(turn, turn % (MESSAGES + 1))
    while True:
        for turn in turns:
            if messages_left[turn]:
                messages_left[turn] -= 1
                yield (message_request % (_uuid(), conversations[turn])).encode()
            else:
                yield opened(turn, MESSAGES)


def _request(host: str, path: str, body: str) -> str:
    """The request with `body`, in which %s stand for UUIDs."""
    length = len(body.encode()) + body.count("%s") * (36 - len("%s"))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}"
    return f"{head}\r\n\r\n{body}"


def _uuid() -> str:
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


class Connections:
    """Open connections by file descriptor, with what each is doing."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._address = address
        self.poller = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.free: deque[int] = deque()
        self.free_since: dict[int, float] = {}
        self.due_at: dict[int, float] = {}
        """Of the event whose answer this connection waits for."""
        for _ in range(count):
            self._connect()

    def _connect(self) -> None:
        connection = socket.create_connection(self._address, timeout=PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        descriptor = connection.fileno()
        self.sockets[descriptor] = connection
        self.poller.register(descriptor, select.EPOLLIN)
        self.free_since[descriptor] = time.perf_counter()
        self.free.append(descriptor)

    def close(self) -> None:
        self.poller.close()
        for connection in self.sockets.values():
            connection.close()

    def replace(self, descriptor: int) -> bool:
        """Close a broken connection and open another. Whether an event was under way on it, which has failed now."""
        self.poller.unregister(descriptor)
        self.sockets.pop(descriptor).close()
        lost = self.due_at.pop(descriptor, None) is not None
        if not lost:
            self.free.remove(descriptor)
        self._connect()
        return lost


def run(  # noqa: C901, PLR0912, PLR0915
    url: str, *, connections: int, rate: float, seconds: float, report_s: float
) -> Iterator[dict[str, Any]]:
    """Yield the reports; the last is of the whole.

    One long function on purpose: every call and every attribute looked up in its loop is CPU that the measured
    processes do not get.
    """
    parts = urlsplit(url)
    open_connections = Connections((parts.hostname or "127.0.0.1", parts.port or 80), connections)
    poller, sockets, free = open_connections.poller, open_connections.sockets, open_connections.free
    free_since, due_at = open_connections.free_since, open_connections.due_at
    endless = requests(parts.netloc, parts.path or "/webhook/", 2 * connections)
    total = round(rate * seconds)
    ready = deque(islice(endless, min(READY, total)))
    partial: dict[int, bytes] = {}
    clock, log = time.perf_counter, math.log

    started_at = next_due = clock() + 0.01
    give_up_at = started_at + seconds + PATIENCE_S
    next_report = started_at + report_s
    sent = 0
    everything, tally = Tally(started_at), Tally(started_at)
    latencies, lateness, statuses = tally.latencies.counts, tally.lateness.counts, tally.statuses
    while sent < total or due_at:
        now = clock()
        if now > next_report:
            yield tally.report(next_report)
            everything.add(tally)
            tally = Tally(next_report)
            latencies, lateness, statuses = tally.latencies.counts, tally.lateness.counts, tally.statuses
            next_report += report_s
        if now > give_up_at:
            break

        while sent < total and free and next_due <= now:
            descriptor = free.popleft()
            if not ready:
                ready.extend(islice(endless, REFILL))
            request = ready.popleft()
            try:
                whole = sockets[descriptor].send(request) == len(request)
            except OSError:
                whole = False
            due_at[descriptor] = next_due
            late_s = now - max(next_due, free_since[descriptor])
            lateness[int(log(late_s * 1e6) * BUCKETS_PER_E) if late_s > 1e-6 else 0] += 1  # noqa: PLR2004 (1 µs)
            tally.lateness.longest_s = max(tally.lateness.longest_s, late_s)
            sent += 1
            next_due = started_at + sent * (seconds / total)
            if not whole:  # 350 bytes always fit into the buffer of a connection that lives
                tally.socket_errors += open_connections.replace(descriptor)
            now = clock()

        wait_s = min(next_due - now, TICK_S) if free and sent < total else TICK_S
        if wait_s > 0:
            if len(ready) < READY and sent + len(ready) < total:
                ready.extend(islice(endless, REFILL))
                wait_s -= clock() - now
            if wait_s > 0:
                select.select((poller,), (), (), wait_s)  # epoll's own timeout is in whole milliseconds
        for descriptor, _ in poller.poll(0):
            try:
                answer = sockets[descriptor].recv(65536)
            except OSError:
                answer = b""
            if not answer:
                tally.socket_errors += open_connections.replace(descriptor)
                partial.pop(descriptor, None)
                continue
            if answer[-1] != LAST_BYTE or descriptor in partial:
                answer = partial.pop(descriptor, b"") + answer
                if answer[-1] != LAST_BYTE:
                    partial[descriptor] = answer
                    continue
            now = clock()
            latency_s = now - due_at.pop(descriptor)
            latencies[int(log(latency_s * 1e6) * BUCKETS_PER_E)] += 1
            tally.latencies.longest_s = max(tally.latencies.longest_s, latency_s)
            statuses[answer[9:12]] += 1  # HTTP/1.1 201
            free_since[descriptor] = now
            free.append(descriptor)

    tally.unsent = total - sent
    tally.socket_errors += len(due_at)  # answers that never came
    open_connections.close()
    yield tally.report(clock())
    everything.add(tally)
    yield everything.report(clock()) | {"whole": True}


@click.command()
@click.argument("url")
@click.option("--connections", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), required=True, help="Events a second.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10, show_default=True)
@click.option("--report-s", type=float, default=math.inf, help="Report every so many seconds, too.")
def main(*, url: str, connections: int, rate: float, seconds: float, report_s: float) -> None:
    """Send events to the Realmate at URL at a fixed rate, and print what became of them as JSON. Without a path, they
    go to /webhook/."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000)  # wake within 1 µs of the moment asked for, not 50
    gc.disable()  # nothing here makes cycles; a collection would be lateness
    for report in run(url, connections=connections, rate=rate, seconds=seconds, report_s=report_s):
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
