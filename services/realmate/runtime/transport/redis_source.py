"""The consumer's end of the transport on Redis Streams: one consumer of the group that all replicas share.

Redis hands each entry to one consumer and keeps it pending until it is acknowledged. This process renews its lease on
what it has in hand; an entry whose consumer died, froze or gave it back is claimed by whoever looks next. An entry is
acknowledged and deleted together with its reply, so the stream holds only what is still to do.

How old an entry is at most follows from what was read before it: what came after that is younger. Where this says too
little, Redis's own time decides: an entry's id says when it came, TIME what the hour is now.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import eventlet
import msgspec
import redis
import structlog

from realmate.runtime.transport.interface import Delivery, Spawn, TransportUnavailable
from realmate.runtime.transport.redis_link import BLOCK_S, COMMANDS, GROUP, Command, RedisLink

NEGLIGIBLE_AGE_S = 0.05
"""Entries that cannot be older are not worth asking Redis for the time: the deadline is that much too early at most."""
FORGET_EVERY_S = 60.0
FORGET_IDLE_MS = 600_000
"""A consumer that has not read for this long has died: a live one reads every second."""
CLOSE_TIMEOUT_S = 1.0
WHOLE_STREAM = b"0-0"

log = structlog.get_logger(__name__)

Entry = tuple[bytes, Sequence[bytes]]


@dataclass(slots=True)
class _InHand:
    """What must be acknowledged and answered for one delivery. Sent again by its caller, it has several entries."""

    entry_ids: set[bytes]
    channel: bytes
    """Where the reply is awaited."""
    deadline: float


@dataclass(frozen=True, slots=True)
class _Clock:
    """The same moment on this process's clock and on Redis's. Without the latter, entries are taken to be that old."""

    monotonic_s: float
    redis_ms: int | None


class RedisSource:
    def __init__(self, url: str, *, claim_idle_s: float, spawn: Spawn) -> None:
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._link = RedisLink(url)
        self._claim_idle_s = claim_idle_s
        self._in_hand: dict[str, _InHand] = {}
        self._claim_cursor = WHOLE_STREAM
        self._next_claim = 0.0
        self._drained_at = -math.inf
        self._stopped = False
        self._upkeep = spawn(self._keep_up)

    def receive(self, limit: int) -> list[Delivery]:
        if self._stopped:
            return []
        try:
            return self._link.persist("receive", partial(self._receive, limit), worthwhile=lambda: not self._stopped)
        except TransportUnavailable:
            return []  # stopped while Redis is away

    def settle(self, deliveries: Sequence[Delivery], replies: Sequence[bytes | None]) -> None:
        last_deadline = max(delivery.deadline for delivery in deliveries)
        entry_ids: list[bytes] = []
        commands: list[Command] = []
        for delivery, reply in zip(deliveries, replies, strict=True):
            taken = self._in_hand[delivery.id]
            entry_ids.extend(taken.entry_ids)
            if reply is not None:
                commands.append(("PUBLISH", taken.channel, msgspec.msgpack.encode((delivery.id, reply))))
        # Replies first: should the connection break halfway, an entry without an answer must stay pending.
        commands.extend(_acknowledgement(entry_ids))
        try:
            self._link.persist(
                "settle",
                partial(self._link.lines.ask, *commands),
                worthwhile=lambda: time.monotonic() < last_deadline,
            )
        except TransportUnavailable:
            # Nobody waits any more. What stays pending is claimed, found past its deadline and dropped.
            log.warning("deliveries not settled", deliveries=len(deliveries))
        finally:
            self.release(deliveries)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            del self._in_hand[delivery.id]

    def ping(self) -> None:
        self._link.client.ping()

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._upkeep.kill()
        try:
            with eventlet.Timeout(CLOSE_TIMEOUT_S, False):  # noqa: FBT003 (eventlet's own way to say: leave the block)
                self._leave_group()
        except (redis.RedisError, OSError) as error:
            log.debug("left without a word", error=str(error))  # the other consumers forget this one in time
        self._link.close()

    def _receive(self, limit: int) -> list[Delivery]:
        drained_at, self._drained_at = self._drained_at, -math.inf  # for good, if this fails: after a failover, say
        try:
            if time.monotonic() >= self._next_claim and (claimed := self._claim(limit)):
                return claimed
            return self._read(limit, drained_at)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group()  # the first start ever, or Redis lost its memory
            return []

    def _read(self, limit: int, drained_at: float) -> list[Delivery]:
        block_ms = int(min(BLOCK_S, self._claim_idle_s / 2) * 1000)
        asked_at = time.monotonic()
        [streams] = self._link.reading_lines.ask(
            ("XREADGROUP", "GROUP", GROUP, self.consumer, "COUNT", limit, "BLOCK", block_ms, "STREAMS", COMMANDS, ">")
        )
        entries = streams[0][1] if streams else []
        taken = self._take(entries, self._clock(drained_at), redelivered=False) if entries else []
        self._drained_at = asked_at if len(entries) < limit else drained_at
        return taken

    def _claim(self, limit: int) -> list[Delivery]:
        idle_ms = int(self._claim_idle_s * 1000)
        [(self._claim_cursor, entries, _deleted)] = (
            self._link.reading_lines.ask(  # deleted: pending, but Redis forgot them
                ("XAUTOCLAIM", COMMANDS, GROUP, self.consumer, idle_ms, self._claim_cursor, "COUNT", limit)
            )
        )
        if self._claim_cursor == WHOLE_STREAM:  # once round; before that, the next receive goes on where this one ended
            self._next_claim = time.monotonic() + self._claim_idle_s / 2
        return self._take(entries, self._clock(-math.inf), redelivered=True) if entries else []

    def _take(self, entries: Iterable[Entry], clock: _Clock, *, redelivered: bool) -> list[Delivery]:
        taken: list[tuple[Delivery, _InHand]] = []
        unreadable: list[bytes] = []
        for entry_id, fields in entries:
            try:
                taken.append(_parse(entry_id, fields, clock, redelivered=redelivered))
            except (KeyError, ValueError):
                log.exception("unreadable command dropped", entry_id=entry_id)
                unreadable.append(entry_id)
        if unreadable:
            self._link.lines.ask(*_acknowledgement(unreadable))  # or it would go from consumer to consumer for ever
        return [delivery for delivery, in_hand in taken if self._is_news(delivery, in_hand)]

    def _clock(self, drained_at: float) -> _Clock:
        """Reckons for what has entered the stream after `drained_at`."""
        if time.monotonic() - drained_at < NEGLIGIBLE_AGE_S:
            return _Clock(drained_at, None)
        # Not in one pipeline with the read, though that saved a round trip: both answers would lie in the socket while
        # this process is frozen, and the hour in them would be that of before.
        asked_at = time.monotonic()  # a lower bound: a slow answer makes deadlines earlier, never later
        [(seconds, microseconds)] = self._link.reading_lines.ask(("TIME",))
        return _Clock(asked_at, int(seconds) * 1000 + int(microseconds) // 1000)

    def _is_news(self, delivery: Delivery, in_hand: _InHand) -> bool:
        """False when this process is at work on it: its caller sent it again, or it was claimed after a freeze."""
        known = self._in_hand.setdefault(delivery.id, in_hand)
        known.entry_ids |= in_hand.entry_ids
        return known is in_hand

    def _make_group(self) -> None:
        try:
            # From 0, not $: what was queued before the group existed is work to do.
            self._link.client.xgroup_create(COMMANDS, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # another consumer was faster
                raise

    def _keep_up(self) -> None:
        next_forget = time.monotonic() + FORGET_EVERY_S
        while True:
            eventlet.sleep(self._claim_idle_s / 3)
            try:
                self._renew_leases()
                if time.monotonic() >= next_forget:
                    next_forget = time.monotonic() + FORGET_EVERY_S
                    self._forget_the_dead()
            except (redis.RedisError, OSError) as error:
                log.debug("upkeep failed", error=str(error))  # `receive` notices too, and tells

    def _renew_leases(self) -> None:
        """Without it a slow store would bring every batch to every replica, and be slower for it.

        Past its deadline nothing is renewed: a worker that hangs must not keep its entries for good.
        """
        now = time.monotonic()
        at_work = [taken for taken in self._in_hand.values() if taken.deadline > now]
        if at_work:
            entry_ids: list[Any] = [entry_id for taken in at_work for entry_id in taken.entry_ids]
            self._link.client.xclaim(COMMANDS, GROUP, self.consumer, 0, entry_ids, justid=True)

    def _forget_the_dead(self) -> None:
        consumers: Any = self._link.client.xinfo_consumers(COMMANDS, GROUP)
        for each in consumers:
            # Deleting a consumer deletes what it has pending, so only one that has nothing and will not come back.
            if each["pending"] == 0 and each["idle"] > FORGET_IDLE_MS and each["name"] != self.consumer.encode():
                self._link.client.xgroup_delconsumer(COMMANDS, GROUP, each["name"])

    def _leave_group(self) -> None:
        if not self._link.client.xpending_range(COMMANDS, GROUP, "-", "+", 1, consumername=self.consumer):
            self._link.client.xgroup_delconsumer(COMMANDS, GROUP, self.consumer)


def _acknowledgement(entry_ids: Sequence[bytes]) -> list[Command]:
    return [("XACK", COMMANDS, GROUP, *entry_ids), ("XDEL", COMMANDS, *entry_ids)]


def _parse(entry_id: bytes, flat: Sequence[bytes], clock: _Clock, *, redelivered: bool) -> tuple[Delivery, _InHand]:
    """Raises KeyError or ValueError for what no caller of this version sends."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    age_ms = 0  # ids never go back, clocks do
    if clock.redis_ms is not None:
        age_ms = max(0, clock.redis_ms - int(entry_id.partition(b"-")[0]))
    delivery = Delivery(
        id=fields[b"id"].decode(),
        payload=fields[b"payload"],
        deadline=clock.monotonic_s + (int(fields[b"timeout_ms"]) - age_ms) / 1000,
        redelivered=redelivered or int(fields[b"attempt"]) > 1,
    )
    return delivery, _InHand({entry_id}, fields[b"reply"], delivery.deadline)
