"""The consumer's end of the transport on RabbitMQ: all replicas consume one queue, each with a bounded prefetch.

The broker hands a batch to one consumer and keeps it until it is acknowledged; when a consumer's connection ends, or
its heartbeats stop, the batch goes to another. A reply and the acknowledgement after it travel on one channel, in this
order: the broker never forgets a batch whose reply it has not got.

The broker tells nobody its hour. It drops batches that expire in the queue; once here, a batch's time counts from the
last moment when nothing unread lay in the socket. So a batch may be applied late by as long as it waited in the queue.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import eventlet
import msgspec
import structlog
from eventlet.queue import Empty, LightQueue
from kombu import Connection, Producer

from realmate.runtime.loops import loops
from realmate.transport import metrics
from realmate.transport.amqp.connections import (
    CONTENT_TYPE,
    ERRORS,
    EXCHANGE,
    Publishers,
    broker_state,
    declare_commands,
)
from realmate.transport.amqp.dead_letters import (
    DEAD_LETTERS,
    MAX_DELIVERIES,
    declare_dead_letters,
    delivery_count,
    publish_dead_letter,
)
from realmate.transport.amqp.envelopes import (
    ATTEMPT,
    DEFAULT_TIMEOUT_MS,
    SEAL,
    decode_request,
    encode_response,
    header,
    headers,
)
from realmate.transport.amqp.listener import Listener
from realmate.transport.amqp.probe import Probe
from realmate.transport.interface import Delivery, TransportUnavailable
from realmate.transport.sealing import Sealing
from realmate.transport.validation import DroppedMessages, Unreadable, attempt, name, timeout_ms

WAIT_S = 1.0
"""How long `receive` waits. A stopping process may have to wait as long."""
STOPPED = None
CONSUMER_TAG = "conversations"
HEALTHY_S = 10.0
"""An outage of RabbitMQ this recent is reason enough that nobody finished a batch."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _InFlight:
    """What must be acknowledged and answered for one delivery. It has several tags where its caller sent it again."""

    reply_to: str
    tags: list[tuple[Any, int]]
    """The tags, each with its channel. On another channel a tag means nothing."""
    is_sealed: bool = False
    """Whether the caller knows seals, so that its response gets one."""


class AmqpConsumer:
    def __init__(self, url: str, *, heartbeat_s: int, prefetch: int, pause_s: float, sealing: Sealing) -> None:
        self._sealing = sealing
        self._prefetch = prefetch
        self._pause_s = pause_s
        self._arrived = LightQueue()
        self._in_flight: dict[str, _InFlight] = {}
        self._stopped = False
        self._broker = broker_state()
        self._dropped = DroppedMessages("command")
        self._aside = Publishers(url, connections=1)
        self._probe = Probe(url)
        self._listener = Listener(url, heartbeat_s=heartbeat_s, consume=self._consume, broker=self._broker)

    def receive(self, limit: int) -> list[Delivery]:
        received: list[Delivery] = []
        while not self._stopped and len(received) < limit:
            try:
                delivery = self._arrived.get(block=not received, timeout=WAIT_S)
            except Empty:
                break
            if delivery is not STOPPED:
                received.append(delivery)
        return received

    def settle(self, deliveries: Sequence[Delivery], responses: Sequence[bytes | None]) -> None:
        last_deadline = max(delivery.deadline for delivery in deliveries)
        try:
            self._broker.retry(
                "settle",
                lambda: self._listener.write(partial(self._respond_and_acknowledge, deliveries, responses)),
                worthwhile=lambda: time.monotonic() < last_deadline,
            )
        except TransportUnavailable:
            # Nobody waits any more, and what is not acknowledged has gone back to the broker, or will.
            log.warning("deliveries not settled", deliveries=len(deliveries))
        finally:
            for delivery in deliveries:
                del self._in_flight[delivery.id]

    def release(self, deliveries: Sequence[Delivery]) -> None:
        tags = [tag for delivery in deliveries for tag in self._in_flight.pop(delivery.id).tags]
        loops.spawn("give back", partial(self._give_back_later, tags))

    def check(self) -> None:
        self._listener.check()
        self._probe.check()

    def stop(self) -> None:
        self._stopped = True
        self._arrived.put(STOPPED)
        with suppress(*ERRORS):
            self._listener.write(lambda channel: channel.basic_cancel(CONSUMER_TAG, nowait=True))
        self._give_back(self._forget_waiting())

    def close(self) -> None:
        self._listener.close()
        self._sealing.close()
        self._aside.close()
        self._probe.close()

    def _consume(self, connection: Connection, channel: Any) -> None:
        queue = declare_commands(connection)
        declare_dead_letters(connection)
        self._forget_waiting()  # they come again; what workers have in hand does too, and is recognised
        channel.basic_qos(0, self._prefetch, a_global=False)
        if not self._stopped:
            queue(channel).consume(CONSUMER_TAG, self._on_command)

    def _on_command(self, message: Any) -> None:
        """Handle one message. The reader calls this and must go on reading, so other greenlets do what writes."""
        tag = (message.channel, message.delivery_tag)
        try:
            reply_to = name(message.properties.get("reply_to"), "reply")
            delivery = self._parse(message, reply_to)
        except Unreadable as reason:
            self._dropped.record(str(reason))
            loops.spawn("drop", partial(self._drop, [tag]))  # or it would go from consumer to consumer for ever
            return
        if self._stopped:
            loops.spawn("give back", partial(self._give_back, [tag]))
        elif self._is_poison(delivery, message):
            loops.spawn("bury a dead letter", partial(self._bury, message, tag))
        elif known := self._in_flight.get(delivery.id):  # its caller sent it again, or its connection was lost
            known.reply_to = reply_to
            known.tags.append(tag)
        else:
            self._in_flight[delivery.id] = _InFlight(reply_to, [tag], is_sealed=bool(header(message, SEAL)))
            self._arrived.put(delivery)

    def _parse(self, message: Any, reply_to: str) -> Delivery:
        """Raises Unreadable for what no caller of this version sends."""
        properties = message.properties
        if properties.get("content_type") != CONTENT_TYPE:
            raise Unreadable("content type")
        left_ms = timeout_ms(properties.get("expiration", DEFAULT_TIMEOUT_MS))
        attempts = attempt(headers(message).get(ATTEMPT, 1))
        try:
            payload = decode_request(message.body)
        except (msgspec.DecodeError, ValueError, TypeError):
            raise Unreadable("encoding") from None
        batch_id = name(properties.get("correlation_id"), "id")
        left_ms = self._sealing.check_batch(header(message, SEAL), batch_id, reply_to, payload, left_ms)
        return Delivery(
            id=batch_id,
            payload=payload,
            deadline=self._listener.silent_since + left_ms / 1000,
            redelivered=bool(message.delivery_info.get("redelivered")) or attempts > 1,
        )

    def _is_poison(self, delivery: Delivery, message: Any) -> bool:
        return (
            delivery_count(headers(message)) >= MAX_DELIVERIES
            and delivery.id not in self._in_flight
            and self._broker.healthy_for(HEALTHY_S)
        )

    def _bury(self, message: Any, tag: tuple[Any, int]) -> None:
        try:
            publish_dead_letter(self._aside, message)
        except ERRORS:
            self._give_back_later([tag])
            return
        metrics.DEAD_LETTERS.inc()
        taken = delivery_count(headers(message))
        log.error("batch is a dead letter: nobody finished it", taken=taken, queue=DEAD_LETTERS)
        self._drop([tag])

    def _respond_and_acknowledge(
        self, deliveries: Sequence[Delivery], responses: Sequence[bytes | None], channel: Any
    ) -> None:
        producer = Producer(channel, EXCHANGE, auto_declare=False)
        for delivery, reply in zip(deliveries, responses, strict=True):
            if reply is not None:
                producer.publish(
                    encode_response(reply),
                    headers=self._seal(delivery.id, reply),
                    routing_key=self._in_flight[delivery.id].reply_to,
                    correlation_id=delivery.id,
                    content_type=CONTENT_TYPE,
                    content_encoding="binary",
                    delivery_mode="transient",
                )
        for delivery in deliveries:
            _acknowledge(channel, self._in_flight[delivery.id].tags)

    def _seal(self, batch_id: str, reply: bytes) -> dict[str, str]:
        taken = self._in_flight[batch_id]
        return {SEAL: self._sealing.seal_response(batch_id, taken.reply_to, reply)} if taken.is_sealed else {}

    def _forget_waiting(self) -> list[tuple[Any, int]]:
        """Take back what no worker has yet; return its tags."""
        tags: list[tuple[Any, int]] = []
        while not self._arrived.empty():
            delivery = self._arrived.get_nowait()
            if delivery is not STOPPED:
                tags += self._in_flight.pop(delivery.id).tags
        return tags

    def _drop(self, tags: Sequence[tuple[Any, int]]) -> None:
        with suppress(*ERRORS):
            self._listener.write(lambda channel: _acknowledge(channel, tags))

    def _give_back_later(self, tags: Sequence[tuple[Any, int]]) -> None:
        eventlet.sleep(self._pause_s)
        self._give_back(tags)

    def _give_back(self, tags: Sequence[tuple[Any, int]]) -> None:
        with suppress(*ERRORS):  # then the connection is lost, and they went back with it
            self._listener.write(lambda channel: _requeue(channel, tags))


def _acknowledge(channel: Any, tags: Sequence[tuple[Any, int]]) -> None:
    for tag in _of(channel, tags):
        channel.basic_ack(tag)


def _requeue(channel: Any, tags: Sequence[tuple[Any, int]]) -> None:
    for tag in _of(channel, tags):
        channel.basic_reject(tag, requeue=True)


def _of(channel: Any, tags: Sequence[tuple[Any, int]]) -> list[int]:
    """Return the tags of this channel. What came on another channel went back to the broker with it."""
    return [tag for of, tag in tags if of is channel]
