"""The intake's end of the transport on RabbitMQ.

Commands are published with confirms. Replies come to a queue of this process's own, which lives as long as its
connection; when that is lost, responses may be, so the calls still waiting send their batch again, marked as
redelivered, with the new queue to answer to. A broker's restart is ridden out for as long as a call's time lasts.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import msgspec
from kombu import Connection, Queue

from realmate.transport.amqp.connections import (
    EXCHANGE,
    ROUTING_KEY,
    Publishers,
    broker_state,
    declare_commands,
)
from realmate.transport.amqp.envelopes import ATTEMPT, SEAL, decode_response, encode_request, header
from realmate.transport.amqp.listener import Listener
from realmate.transport.amqp.probe import Probe
from realmate.transport.in_flight import Call, InFlightCalls
from realmate.transport.sealing import Sealing
from realmate.transport.validation import DroppedMessages, Unreadable

CONNECTIONS = 8
"""The connections for publishing. More calls than these wait for one; the intake has fewer batches in flight."""


class AmqpCaller:
    def __init__(self, url: str, *, heartbeat_s: int, sealing: Sealing) -> None:
        self._sealing = sealing
        self._broker = broker_state()
        self._calls = InFlightCalls(self._send)
        self._reply_to = ""
        self._dropped = DroppedMessages("reply")
        self._probe = Probe(url)
        self._publishers = Publishers(url, connections=CONNECTIONS)
        self._listener = Listener(url, heartbeat_s=heartbeat_s, consume=self._consume, broker=self._broker)

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        return self._calls.call(payload, timeout_s=timeout_s)

    def check(self) -> None:
        self._listener.check()
        self._probe.check()

    def close(self) -> None:
        self._listener.close()
        self._sealing.close()
        self._publishers.close()
        self._probe.close()

    def _send(self, call: Call) -> None:
        while True:
            self._listener.wait()
            reply_to = self._reply_to
            self._broker.retry("send", partial(self._publish, call, reply_to))
            if reply_to == self._reply_to:
                return  # else it changed while we published: the reply would go to a queue that is gone

    def _publish(self, call: Call, reply_to: str) -> None:
        call.attempts += 1
        left_ms = call.left_ms
        seal = self._sealing.seal_batch(call.id, reply_to, call.payload, left_ms)
        self._publishers.publish(
            encode_request(call.payload),
            exchange=EXCHANGE.name,
            routing_key=ROUTING_KEY,
            reply_to=reply_to,
            correlation_id=call.id,
            headers={ATTEMPT: call.attempts} | ({SEAL: seal} if seal else {}),
            expiration=left_ms / 1000,
            mandatory=True,  # rejected rather than lost, should somebody have deleted the queue
        )

    def _consume(self, connection: Connection, channel: Any) -> None:
        self._publishers.close()  # if the broker was away, their connections ended with it
        declare_commands(connection)
        reply_to = str(uuid.uuid4())
        responses = Queue(
            f"rpc.reply-webhook-{reply_to}", EXCHANGE, routing_key=reply_to, durable=False, exclusive=True
        )(channel)
        responses.declare()
        responses.consume(callback=self._on_response, no_ack=True)
        self._reply_to = reply_to
        self._calls.resend()

    def _on_response(self, message: Any) -> None:
        try:
            reply = decode_response(message.body)
            batch_id = str(message.properties.get("correlation_id", ""))
            if reply is not None:
                self._sealing.check_response(header(message, SEAL), batch_id, self._reply_to, reply)
        except (msgspec.DecodeError, ValueError, TypeError):
            self._dropped.record("encoding")
            return
        except Unreadable as reason:
            self._dropped.record(str(reason))
            return
        if reply is not None:
            self._calls.resolve(batch_id, reply)
