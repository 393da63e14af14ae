"""Connections to RabbitMQ, what is declared on it, and how both ends publish with confirms.

On the wire this is Nameko's own RPC: its exchange, its queue `rpc-<service>`, its envelopes, `reply_to` and
`correlation_id`; a Nameko proxy can call `conversations.apply`, and any Nameko tool sees what it knows. The ends are
ours because Nameko's have no deadline, no quorum queue and no merging of batches (docs/adr/0007).

A connection belongs to one greenlet at a time. kombu's own retries are off: who sends again must say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from amqp.exceptions import AMQPError, ChannelError, MessageNacked, PreconditionFailed
from eventlet.semaphore import Semaphore
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import KombuError

from realmate.transport.broker_state import BrokerState

ERRORS = (AMQPError, MessageNacked, KombuError, OSError)
"""The errors that may pass: no connection, a lost connection, a rejection by the broker."""
ANSWER_TIMEOUT_S = 2.0
"""The time after which a broker that does not answer counts as lost (a hanging server, a cable pulled)."""
DELETION_S = 1.0
"""The time that RabbitMQ may take to delete a quorum queue.

A queue declared again before that delivers to nobody (seen in 3.10).
"""
CONTENT_TYPE = "application/x-msgpack"
"""The only one that is sent or read: nothing that comes from the broker is ever unpickled."""

EXCHANGE = Exchange("nameko-rpc", type="topic", durable=True)
QUEUE = "rpc-conversations"
BINDING = "conversations.*"
ROUTING_KEY = "conversations.apply"
QUORUM = {"x-queue-type": "quorum"}
DELIVERY_LIMIT = 5
"""The broker drops what came back more often. That is the last bound, for what ends a consumer while it is read."""


def broker_state() -> BrokerState:
    return BrokerState("rabbitmq", ERRORS)


def connect(url: str, *, heartbeat_s: int = 0, confirm: bool = False) -> Connection:
    """An open connection. Raises one of ERRORS, within some seconds."""
    connection = Connection(
        url,
        heartbeat=heartbeat_s,
        connect_timeout=ANSWER_TIMEOUT_S,
        transport_options={"confirm_publish": confirm},
    )
    try:
        with eventlet.Timeout(2 * ANSWER_TIMEOUT_S, TimeoutError("RabbitMQ accepts, but does not answer")):
            connection.ensure_connection(max_retries=0)
    except BaseException:
        abandon(connection)
        raise
    return connection


def abandon(connection: Connection) -> None:
    """Drop a connection in an unknown state, without the handshake that a broken one would not answer."""
    connection.collect()


def declare_commands(connection: Connection) -> Queue:
    """Make sure that the exchange and the commands' queue are there, whoever comes first; return the queue.

    Durable, and replicated (a quorum queue) where the broker can; one that an operator made otherwise is used as it is.
    """
    for arguments in (QUORUM | {"x-delivery-limit": DELIVERY_LIMIT}, QUORUM, {}):
        channel = connection.channel()  # the broker closes one on which it rejected something
        queue = _commands_queue(arguments)(channel)
        try:
            queue.declare()
        except PreconditionFailed:
            continue
        channel.close()
        return queue
    return _commands_queue({})


def _commands_queue(arguments: dict[str, Any]) -> Queue:
    return Queue(QUEUE, EXCHANGE, routing_key=BINDING, durable=True, queue_arguments=arguments)


class Publishers:
    """Publishes with confirms, on up to `connections` connections, which open when they are needed."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._url = url
        self._slots = Semaphore(connections)
        self._idle: list[Producer] = []

    def publish(self, body: bytes, **properties: Any) -> None:
        """Return when the broker has taken responsibility. Raises one of ERRORS: it may, or may not, have it."""
        with self._lent() as producer:
            producer.publish(
                body,
                content_type=CONTENT_TYPE,
                content_encoding="binary",
                timeout=ANSWER_TIMEOUT_S,
                confirm_timeout=ANSWER_TIMEOUT_S,
                retry=False,
                **properties,
            )

    def close(self) -> None:
        while self._idle:
            abandon(self._idle.pop().connection)

    @contextmanager
    def _lent(self) -> Iterator[Producer]:
        with self._slots:
            producer = self._idle.pop() if self._idle else self._open()
            try:
                yield producer
            except BaseException as error:  # a caller's timeout, too, leaves it in the middle of something
                abandon(producer.connection)
                self.close()  # what the others say is no news any more either, if the broker went away
                if isinstance(error, ChannelError):  # no queue, no exchange: somebody deleted it
                    eventlet.sleep(DELETION_S)
                raise
            self._idle.append(producer)

    def _open(self) -> Producer:
        connection = connect(self._url, confirm=True)
        try:
            declare_commands(connection)
            return Producer(connection.channel(), auto_declare=False)
        except BaseException:
            abandon(connection)
            raise
