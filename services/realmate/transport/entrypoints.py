"""The transport as services see it: `CommandCaller` to send batches, `@commands` to receive them.

The broker is chosen by the scheme of the transport's URL; what is here holds for every broker: how many workers run,
that nothing past its deadline is applied, what is counted, when the process is ready, and how it stops.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import eventlet
import structlog
from eventlet.semaphore import Semaphore
from nameko.extensions import DependencyProvider, Entrypoint

from realmate.runtime.config import settings_of
from realmate.runtime.health import health
from realmate.runtime.loops import loops
from realmate.runtime.settings import Settings
from realmate.transport import metrics
from realmate.transport.amqp.caller import AmqpCaller
from realmate.transport.amqp.consumer import AmqpConsumer
from realmate.transport.interface import Caller, Consumer, Delivery, TransportUnavailable
from realmate.transport.redis.caller import RedisCaller
from realmate.transport.redis.consumer import RedisConsumer
from realmate.transport.sealing import Sealing

READINESS_PART = "transport"
LOOK_AGAIN_S = 1.0
WORKS_WITHIN_S = 60.0
"""A consumer that has not come back from its broker, or has had no free worker, for this long is not ready."""

log = structlog.get_logger(__name__)


def open_caller(settings: Settings) -> Caller:
    """The intake's end of the transport that the settings name. Raises SettingsError where they name none."""
    url = settings.transport
    sealing = Sealing(settings.transport_keys_file)
    if _is_amqp(url):
        return AmqpCaller(url, heartbeat_s=settings.heartbeat_s, sealing=sealing)
    return RedisCaller(url, sealing)


def open_consumer(settings: Settings, url: str) -> Consumer:
    """The consumer's end of the transport at `url`."""
    sealing = Sealing(settings.transport_keys_file)
    if _is_amqp(url):
        return AmqpConsumer(
            url,
            heartbeat_s=settings.heartbeat_s,
            prefetch=settings.consumer_max_merge * settings.consumer_batches_in_flight,
            pause_s=settings.claim_idle_s,
            sealing=sealing,
        )
    return RedisConsumer(
        url,
        claim_idle_s=settings.claim_idle_s,
        read_bytes=settings.consumer_max_merge_bytes,
        sealing=sealing,
    )


def _is_amqp(url: str) -> bool:
    return urlsplit(url).scheme in {"amqp", "amqps"}


class CommandCaller(DependencyProvider):
    """Injects a Caller."""

    def setup(self) -> None:
        caller = open_caller(settings_of(self.container))
        self._caller = MeasuredCaller(caller)
        health.register(READINESS_PART, self._caller.check)

    def get_dependency(self, worker_ctx: Any) -> Caller:  # noqa: ARG002 (Nameko's signature)
        return self._caller

    def stop(self) -> None:
        """Nameko calls this when all workers have finished: no call is waiting."""
        health.unregister(READINESS_PART)
        self._caller.close()

    kill = stop


class MeasuredCaller:
    """A Caller that counts."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.check = caller.check
        self.close = caller.close

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        with metrics.CALLS_IN_FLIGHT.track_inprogress(), metrics.CALL_SECONDS.time():
            try:
                reply = self._caller.call(payload, timeout_s=timeout_s)
            except TransportUnavailable:
                metrics.CALLS.labels("unavailable").inc()
                raise
        metrics.CALLS.labels("replied").inc()
        return reply


def in_portions(deliveries: Sequence[Delivery], max_bytes: int) -> list[list[Delivery]]:
    """The deliveries in order, together as long as they are within `max_bytes`. One that is larger is alone."""
    portions: list[list[Delivery]] = []
    left = 0
    for delivery in deliveries:
        size = len(delivery.payload)
        if not portions or size > left:
            portions.append([])
            left = max_bytes
        portions[-1].append(delivery)
        left -= size
    return portions


class CommandsEntrypoint(Entrypoint):
    """The entrypoint for `def apply(self, deliveries: list[Delivery]) -> list[bytes]`, which returns one response for
    each delivery, after the commit.

    If it raises, nothing is acknowledged and the deliveries come again. Batches merge by themselves: while
    `consumer_batches_in_flight` workers run, newcomers wait in the broker, and the next free worker takes them all.

    With `drains` it takes them from DRAIN_TRANSPORT_URL, if there is one. That is no part of readiness: what carried
    commands before may go as soon as nobody sends by it.
    """

    def __init__(self, *, drains: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._drains = drains

    def setup(self) -> None:
        self._settings = settings_of(self.container)
        url = self._settings.drain_transport_url if self._drains else self._settings.transport
        self._is_wanted = url is not None
        if url is None:
            return
        self._workers = Semaphore(self._settings.consumer_batches_in_flight)
        self._stopping = False
        self._consumer = open_consumer(self._settings, url)
        if not self._drains:
            health.register(READINESS_PART, self._consumer.check)

    def start(self) -> None:
        if self._is_wanted:
            name = "receive commands of before" if self._drains else "receive commands"
            within_s = None if self._drains else WORKS_WITHIN_S
            self._receiver = loops.spawn(name, self._receive, works_within_s=within_s)

    def stop(self) -> None:
        if not self._is_wanted:
            return
        self._stopping = True
        self._consumer.stop()
        with eventlet.Timeout(self._settings.drain_timeout_s, False):  # noqa: FBT003 (eventlet's way: leave the block)
            self._receiver.wait()
            for _ in range(self._settings.consumer_batches_in_flight):
                self._workers.acquire()
        self._close()

    def kill(self) -> None:
        if self._is_wanted:
            self._receiver.kill()
            self._close()

    def _close(self) -> None:
        if not self._drains:
            health.unregister(READINESS_PART)
        self._consumer.close()

    def _receive(self) -> None:
        while not self._stopping:
            self._wait_for_worker()
            deliveries = self._consumer.receive(self._settings.consumer_max_merge)
            loops.worked()
            portions = in_portions(deliveries, self._settings.consumer_max_merge_bytes)
            for place, portion in enumerate(portions):
                if place > 0:
                    self._wait_for_worker()
                self._apply(portion)
            if not portions:
                self._workers.release()

    def _apply(self, portion: list[Delivery]) -> None:
        """Hand over what is still in time. A worker is free: it takes it, or is free again."""
        if deliveries := self._drop_expired(portion):
            self._spawn_worker(deliveries)
        else:
            self._workers.release()

    def _wait_for_worker(self) -> None:
        """Wait, and send heartbeats meanwhile: how long a worker takes depends on the database."""
        while not self._workers.acquire(timeout=LOOK_AGAIN_S):
            loops.heartbeat()

    def _drop_expired(self, deliveries: list[Delivery]) -> list[Delivery]:
        now = time.monotonic()
        expired = [each for each in deliveries if each.deadline <= now]
        if not expired:
            return deliveries
        metrics.DELIVERIES.labels("expired").inc(len(expired))
        self._consumer.settle(expired, [None] * len(expired))
        return [each for each in deliveries if each.deadline > now]

    def _spawn_worker(self, deliveries: list[Delivery]) -> None:
        redelivered = sum(each.redelivered for each in deliveries)
        metrics.DELIVERIES.labels("redelivered").inc(redelivered)
        metrics.DELIVERIES.labels("first").inc(len(deliveries) - redelivered)
        metrics.MERGED_DELIVERIES.observe(len(deliveries))
        metrics.WORKERS_IN_FLIGHT.inc()
        self.container.spawn_worker(self, (deliveries,), {}, handle_result=partial(self._finish, deliveries))

    def _finish(
        self, deliveries: list[Delivery], _worker_ctx: Any, responses: list[bytes] | None, exc_info: Any
    ) -> tuple[Any, Any]:
        """Nameko calls this in the worker's greenlet when the method has returned, or raised (Nameko has logged it)."""
        try:
            if responses is not None and len(responses) == len(deliveries):
                self._consumer.settle(deliveries, responses)
            else:
                if exc_info is None:
                    log.error("not one reply a delivery", deliveries=len(deliveries), method=self.method_name)
                metrics.WORKERS_FAILED.inc()
                self._consumer.release(deliveries)
        finally:
            metrics.WORKERS_IN_FLIGHT.dec()
            self._workers.release()
        return responses, exc_info


commands = CommandsEntrypoint.decorator
