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

from realmate.runtime.loops import loops
from realmate.transport.interface import Delivery, TransportUnavailable
from realmate.transport.redis.connections import BLOCK_S, COMMANDS, GROUP, RESPONSES, Command, RedisConnections
from realmate.transport.redis.dead_letters import MAX_DELIVERIES, bury, longest_idle
from realmate.transport.redis.errors import explain
from realmate.transport.sealing import Sealing
from realmate.transport.validation import DroppedMessages, Unreadable, attempt, name, timeout_ms

NEGLIGIBLE_AGE_S = 0.05
"""Entries that cannot be older are not worth asking Redis for the time: the deadline is that much too early at most."""
FORGET_EVERY_S = 60.0
FORGET_IDLE_MS = 600_000
"""A consumer that has not read for this long has died: a live one reads every second."""
CLOSE_TIMEOUT_S = 1.0
RECEIVING = "receive"
HEALTHY_S = 10.0
"""An outage of Redis this recent is reason enough that nobody finished an entry."""

log = structlog.get_logger(__name__)

Entry = tuple[bytes, Sequence[bytes]]


@dataclass(slots=True)
class _InFlight:
    """What must be acknowledged and answered for a delivery. It has several entries if its caller sent it again."""

    entry_ids: set[bytes]
    channel: bytes
    """The channel on which the caller awaits the response."""
    deadline: float
    is_sealed: bool = False
    """Whether the caller knows seals, so that its response gets one."""


@dataclass(frozen=True, slots=True)
class _Clock:
    """The same moment on this process's clock and on Redis's. Without the latter, entries count as that old."""

    monotonic_s: float
    redis_ms: int | None


class RedisConsumer:
    def __init__(self, url: str, *, claim_idle_s: float, read_bytes: int, sealing: Sealing) -> None:
        self._sealing = sealing
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connections = RedisConnections(url)
        self._claim_idle_s = claim_idle_s
        self._read_bytes = read_bytes
        self._large_bytes = 1
        """The size of the largest recent entries."""
        self._in_flight: dict[str, _InFlight] = {}
        self._dropped = DroppedMessages("command")
        self._next_claim = 0.0
        self._drained_at = -math.inf
        self._stopped = False
        self._upkeep = loops.spawn("renew leases", self._keep_up)

    def receive(self, limit: int) -> list[Delivery]:
        if self._stopped:
            return []
        try:
            return self._connections.retry(
                RECEIVING, partial(self._receive, limit), worthwhile=lambda: not self._stopped
            )
        except TransportUnavailable:
            return []  # stopped while Redis is away

    def settle(self, deliveries: Sequence[Delivery], responses: Sequence[bytes | None]) -> None:
        last_deadline = max(delivery.deadline for delivery in deliveries)
        entry_ids: list[bytes] = []
        commands: list[Command] = []
        for delivery, reply in zip(deliveries, responses, strict=True):
            taken = self._in_flight[delivery.id]
            entry_ids.extend(taken.entry_ids)
            if reply is not None:
                commands.append(("PUBLISH", taken.channel, self._encode(delivery.id, taken, reply)))
        # Replies first: should the connection break halfway, an entry without an answer must stay pending.
        commands.extend(_acknowledgement(entry_ids))
        try:
            self._connections.retry(
                "settle",
                partial(self._connections.commands.ask, *commands),
                worthwhile=lambda: time.monotonic() < last_deadline,
            )
        except TransportUnavailable:
            # Nobody waits any more. What stays pending is claimed, found past its deadline and dropped.
            log.warning("deliveries not settled", deliveries=len(deliveries))
        finally:
            self.release(deliveries)

    def _encode(self, batch_id: str, taken: _InFlight, reply: bytes) -> bytes:
        if not taken.is_sealed:
            return msgspec.msgpack.encode((batch_id, reply))
        seal = self._sealing.seal_response(batch_id, taken.channel.decode(), reply)
        return msgspec.msgpack.encode((batch_id, reply, seal))

    def release(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            del self._in_flight[delivery.id]

    def check(self) -> None:
        """Rehearse what follows a batch; whether batches can be read, `receive` finds out all the time."""
        self._connections.check(RECEIVING)
        try:
            self._connections.commands.ask(("PUBLISH", RESPONSES + "rehearsal", ""), *_acknowledgement([b"0-1"]))
        except (redis.RedisError, OSError) as error:
            raise explain(error) from error

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._upkeep.kill()
        self._sealing.close()
        try:
            with eventlet.Timeout(CLOSE_TIMEOUT_S, False):  # noqa: FBT003 (eventlet's own way to say: leave the block)
                self._leave_group()
        except (redis.RedisError, OSError) as error:
            log.debug("left without a word", error=str(error))  # the other consumers forget this one in time
        self._connections.close()

    def _receive(self, limit: int) -> list[Delivery]:
        drained_at, self._drained_at = self._drained_at, -math.inf  # for good, if this fails: after a failover, say
        try:
            if time.monotonic() >= self._next_claim and (claimed := self._claim()):
                return claimed
            return self._read(limit, drained_at)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group()  # the first start ever, or Redis lost its memory
            return []

    def _read(self, limit: int, drained_at: float) -> list[Delivery]:
        block_ms = int(min(BLOCK_S, self._claim_idle_s / 2) * 1000)
        limit = max(1, min(limit, self._read_bytes // self._large_bytes))
        asked_at = time.monotonic()
        [streams] = self._connections.blocking.ask(
            ("XREADGROUP", "GROUP", GROUP, self.consumer, "COUNT", limit, "BLOCK", block_ms, "STREAMS", COMMANDS, ">")
        )
        entries = streams[0][1] if streams else []
        taken = self._take(entries, self._clock(drained_at), redelivered=False) if entries else []
        self._note_sizes(taken)
        self._drained_at = asked_at if len(entries) < limit else drained_at
        return taken

    def _note_sizes(self, taken: Iterable[Delivery]) -> None:
        """Redis cannot bound a read by bytes. So large entries make the next reads take fewer."""
        largest = max((len(each.payload) for each in taken), default=0)
        self._large_bytes = max(1, largest, self._large_bytes // 2)

    def _claim(self) -> list[Delivery]:
        """Claim one entry that another consumer has not finished. Empty: there is none, or it was a dead letter."""
        idle_ms = int(self._claim_idle_s * 1000)
        if (found := longest_idle(self._connections.blocking, idle_ms)) is None:
            self._next_claim = time.monotonic() + self._claim_idle_s / 2
            return []
        entry_id, times = found
        if times >= MAX_DELIVERIES and self._connections.broker.healthy_for(HEALTHY_S) and not self._has(entry_id):
            bury(self._connections.blocking, entry_id, times)
            return []
        [entries] = self._connections.blocking.ask(("XCLAIM", COMMANDS, GROUP, self.consumer, idle_ms, entry_id))
        return self._take(entries, self._clock(-math.inf), redelivered=True) if entries else []

    def _has(self, entry_id: bytes) -> bool:
        return any(entry_id in taken.entry_ids for taken in self._in_flight.values())

    def _take(self, entries: Iterable[Entry], clock: _Clock, *, redelivered: bool) -> list[Delivery]:
        taken: list[tuple[Delivery, _InFlight]] = []
        unreadable: list[bytes] = []
        for entry_id, fields in entries:
            try:
                taken.append(self._parse(entry_id, fields, clock, redelivered=redelivered))
            except Unreadable as reason:
                self._dropped.record(str(reason))
                unreadable.append(entry_id)
        if unreadable:
            self._connections.commands.ask(
                *_acknowledgement(unreadable)
            )  # or it would go from consumer to consumer for ever
        return [delivery for delivery, in_flight in taken if self._is_news(delivery, in_flight)]

    def _parse(self, entry_id: bytes, flat: Any, clock: _Clock, *, redelivered: bool) -> tuple[Delivery, _InFlight]:
        """Raises Unreadable for what no caller of this version sends."""
        try:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            payload, seal = fields[b"payload"], fields.get(b"seal", b"").decode("ascii", "replace")
            reply = name(fields[b"reply"], "reply")
            batch_id, left_ms, attempts = name(fields[b"id"], "id"), fields[b"timeout_ms"], fields[b"attempt"]
        except (KeyError, TypeError, ValueError):
            raise Unreadable("fields") from None
        if not reply.startswith(RESPONSES):
            raise Unreadable("reply")
        waits_ms = self._sealing.check_batch(seal, batch_id, reply, payload, timeout_ms(left_ms))
        age_ms = 0  # ids never go back, clocks do
        if clock.redis_ms is not None:
            age_ms = max(0, clock.redis_ms - int(entry_id.partition(b"-")[0]))
        delivery = Delivery(
            id=batch_id,
            payload=payload,
            deadline=clock.monotonic_s + (waits_ms - age_ms) / 1000,
            redelivered=attempt(attempts) > 1 or redelivered,
        )
        return delivery, _InFlight({entry_id}, reply.encode(), delivery.deadline, is_sealed=bool(seal))

    def _clock(self, drained_at: float) -> _Clock:
        """Reckons for what has entered the stream after `drained_at`."""
        if time.monotonic() - drained_at < NEGLIGIBLE_AGE_S:
            return _Clock(drained_at, None)
        # Not in one pipeline with the read, though that saved a round trip: both answers would lie in the socket while
        # this process is frozen, and the hour in them would be that of before.
        asked_at = time.monotonic()  # a lower bound: a slow answer makes deadlines earlier, never later
        [(seconds, microseconds)] = self._connections.blocking.ask(("TIME",))
        return _Clock(asked_at, int(seconds) * 1000 + int(microseconds) // 1000)

    def _is_news(self, delivery: Delivery, in_flight: _InFlight) -> bool:
        """False when this process is at work on it: its caller sent it again, or it was claimed after a freeze."""
        known = self._in_flight.setdefault(delivery.id, in_flight)
        known.entry_ids |= in_flight.entry_ids
        return known is in_flight

    def _make_group(self) -> None:
        try:
            # From 0, not $: what was queued before the group existed is work to do.
            self._connections.commands.ask(("XGROUP", "CREATE", COMMANDS, GROUP, "0", "MKSTREAM"))
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # another consumer was faster
                raise

    def _keep_up(self) -> None:
        next_forget = time.monotonic() + FORGET_EVERY_S
        while True:
            loops.heartbeat()
            eventlet.sleep(self._claim_idle_s / 3)
            try:
                self._renew_leases()
                if time.monotonic() >= next_forget:
                    next_forget = time.monotonic() + FORGET_EVERY_S
                    self._forget_the_dead()
            except (redis.RedisError, OSError) as error:
                log.debug("upkeep failed", error=str(error))  # `receive` notices too, and tells

    def _renew_leases(self) -> None:
        """Renew the leases. Without it a slow store would bring every batch to every replica, and become slower still.

        Past its deadline nothing is renewed: a worker that hangs must not keep its entries for good.
        """
        now = time.monotonic()
        at_work = [taken for taken in self._in_flight.values() if taken.deadline > now]
        if at_work:
            entry_ids = [entry_id for taken in at_work for entry_id in taken.entry_ids]
            self._connections.commands.ask(("XCLAIM", COMMANDS, GROUP, self.consumer, 0, *entry_ids, "JUSTID"))

    def _forget_the_dead(self) -> None:
        [consumers] = self._connections.commands.ask(("XINFO", "CONSUMERS", COMMANDS, GROUP))
        for flat in consumers:
            each = dict(zip(flat[::2], flat[1::2], strict=True))
            # Deleting a consumer deletes what it has pending, so only one that has nothing and will not come back.
            if each[b"pending"] == 0 and each[b"idle"] > FORGET_IDLE_MS and each[b"name"] != self.consumer.encode():
                self._connections.commands.ask(("XGROUP", "DELCONSUMER", COMMANDS, GROUP, each[b"name"]))

    def _leave_group(self) -> None:
        [pending] = self._connections.commands.ask(("XPENDING", COMMANDS, GROUP, "-", "+", 1, self.consumer))
        if not pending:
            self._connections.commands.ask(("XGROUP", "DELCONSUMER", COMMANDS, GROUP, self.consumer))


def _acknowledgement(entry_ids: Sequence[bytes]) -> list[Command]:
    return [("XACK", COMMANDS, GROUP, *entry_ids), ("XDEL", COMMANDS, *entry_ids)]
