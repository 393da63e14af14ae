"""The consumer's end of the transport on Redis Streams: one consumer of the group that all replicas share.

Redis hands each entry to one consumer and keeps it pending until it is acknowledged. This process renews its lease on
what it has in hand; an entry whose consumer died, froze or gave it back is claimed by whoever looks next. An entry is
acknowledged and deleted together with its reply, so the stream holds only what is still to do.

A deadline is reckoned in Redis's own time: an entry's id says when it came, TIME what the hour is now.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import eventlet
import msgspec
import redis
import structlog

from realmate.runtime.transport.interface import Delivery, Spawn, TransportUnavailable
from realmate.runtime.transport.redis_link import BLOCK_S, COMMANDS, GROUP, RedisLink

REPLY_TTL_MS = 60_000
"""Longer than any call waits; then the list of an intake that is gone goes too."""
FORGET_EVERY_S = 60.0
FORGET_IDLE_MS = 600_000
"""A consumer that has not read for this long has died: a live one reads every second."""
CLOSE_TIMEOUT_S = 1.0
WHOLE_STREAM = b"0-0"

log = structlog.get_logger(__name__)

Entry = tuple[bytes, dict[bytes, bytes]]


@dataclass(slots=True)
class _InHand:
    """What must be acknowledged and answered for one delivery. Sent again by its caller, it has several entries."""

    entry_ids: set[bytes]
    replies: bytes
    deadline: float


@dataclass(frozen=True, slots=True)
class _Clock:
    """The same moment on this process's clock and on Redis's."""

    monotonic_s: float
    redis_ms: int


class RedisSource:
    def __init__(self, url: str, *, claim_idle_s: float, connections: int, spawn: Spawn) -> None:
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._link = RedisLink(url, connections=connections + 2)  # upkeep and ping beside the workers
        self._claim_idle_s = claim_idle_s
        self._in_hand: dict[str, _InHand] = {}
        self._claim_cursor = WHOLE_STREAM
        self._next_claim = 0.0
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
        messages: dict[bytes, list[bytes]] = defaultdict(list)
        for delivery, reply in zip(deliveries, replies, strict=True):
            taken = self._in_hand[delivery.id]
            entry_ids.extend(taken.entry_ids)
            if reply is not None:
                messages[taken.replies].append(msgspec.msgpack.encode((delivery.id, reply)))
        try:
            self._link.persist(
                "settle",
                partial(self._acknowledge, entry_ids, messages),
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
        try:
            claimed = self._claim(limit) if time.monotonic() >= self._next_claim else []
            return claimed or self._read(limit)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group()  # the first start ever, or Redis lost its memory
            return []

    def _read(self, limit: int) -> list[Delivery]:
        block_ms = int(min(BLOCK_S, self._claim_idle_s / 2) * 1000)
        streams: Any = self._link.reads.xreadgroup(GROUP, self.consumer, {COMMANDS: ">"}, count=limit, block=block_ms)
        return self._take(streams[0][1], redelivered=False) if streams else []

    def _claim(self, limit: int) -> list[Delivery]:
        idle_ms = int(self._claim_idle_s * 1000)
        answer: Any = self._link.reads.xautoclaim(
            COMMANDS, GROUP, self.consumer, min_idle_time=idle_ms, start_id=self._claim_cursor, count=limit
        )
        self._claim_cursor, entries, _deleted = answer  # pending, but not in the stream any more: Redis forgot them
        if self._claim_cursor == WHOLE_STREAM:  # once round; before that, the next receive goes on where this one ended
            self._next_claim = time.monotonic() + self._claim_idle_s / 2
        return self._take(entries, redelivered=True) if entries else []

    def _take(self, entries: Iterable[Entry], *, redelivered: bool) -> list[Delivery]:
        clock = self._ask_the_time()
        taken: list[tuple[Delivery, _InHand]] = []
        unreadable: list[bytes] = []
        for entry_id, fields in entries:
            try:
                taken.append(_parse(entry_id, fields, clock, redelivered=redelivered))
            except (KeyError, ValueError):
                log.exception("unreadable command dropped", entry_id=entry_id)
                unreadable.append(entry_id)
        if unreadable:
            self._acknowledge(unreadable, {})  # or it would go from consumer to consumer for ever
        return [delivery for delivery, in_hand in taken if self._is_news(delivery, in_hand)]

    def _ask_the_time(self) -> _Clock:
        # Not in one pipeline with the read, though that saved a round trip: both answers would lie in the socket while
        # this process is frozen, and the hour in them would be that of before.
        asked_at = time.monotonic()  # a lower bound: a slow answer makes deadlines earlier, never later
        seconds, microseconds = self._link.reads.time()
        return _Clock(asked_at, seconds * 1000 + microseconds // 1000)

    def _is_news(self, delivery: Delivery, in_hand: _InHand) -> bool:
        """False when this process is at work on it: its caller sent it again, or it was claimed after a freeze."""
        known = self._in_hand.setdefault(delivery.id, in_hand)
        known.entry_ids |= in_hand.entry_ids
        return known is in_hand

    def _acknowledge(self, entry_ids: Sequence[bytes], messages: dict[bytes, list[bytes]]) -> None:
        with self._link.client.pipeline(transaction=False) as pipeline:
            # Replies first: should the connection break halfway, an entry without an answer must stay pending.
            for replies, packed in messages.items():
                pipeline.rpush(replies, *packed)
                pipeline.pexpire(replies, REPLY_TTL_MS)
            pipeline.xack(COMMANDS, GROUP, *entry_ids)
            pipeline.xdel(COMMANDS, *entry_ids)
            pipeline.execute()

    def _make_group(self) -> None:
        try:
            # From 0, not $: what was queued before the group existed is work to do.
            self._link.reads.xgroup_create(COMMANDS, GROUP, id="0", mkstream=True)
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


def _parse(
    entry_id: bytes, fields: dict[bytes, bytes], clock: _Clock, *, redelivered: bool
) -> tuple[Delivery, _InHand]:
    """Raises KeyError or ValueError for what no caller of this version sends."""
    age_ms = max(0, clock.redis_ms - int(entry_id.partition(b"-")[0]))  # ids never go back, clocks do
    delivery = Delivery(
        id=fields[b"id"].decode(),
        payload=fields[b"payload"],
        deadline=clock.monotonic_s + (int(fields[b"timeout_ms"]) - age_ms) / 1000,
        redelivered=redelivered or int(fields[b"attempt"]) > 1,
    )
    return delivery, _InHand({entry_id}, fields[b"reply"], delivery.deadline)
