"""The dead letters on RabbitMQ: batches that were delivered twice, and whose consumer ended each time before it was
finished.

It probably ends its consumers, and would go from one to the next. Its sender got no 2xx: it sends the event again, in a
batch of its own. A person finds the batch in this queue, which keeps a hundred of them for a day.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import ChannelError
from kombu import Connection, Queue

from realmate.transport.amqp.connections import EXCHANGE, Publishers

DEAD_LETTERS = "realmate.set-aside"
MAX_DELIVERIES = 2
KEPT_BYTES = 65_536
DELIVERY_COUNT = "x-delivery-count"
"""A quorum queue's header, from the second delivery on. Other queues do not count."""

_ARGUMENTS = {"x-max-length": 100, "x-message-ttl": 86_400_000}


def declare_dead_letters(connection: Connection) -> None:
    """Make sure that the queue is there. One that was made otherwise is used as it is.

    Without the right to make it the work goes on, and dead letters are lost.
    """
    channel = connection.channel()
    queue = Queue(DEAD_LETTERS, EXCHANGE, routing_key=DEAD_LETTERS, durable=True, queue_arguments=_ARGUMENTS)
    try:
        queue(channel).declare()
    except ChannelError:
        return
    channel.close()


def delivery_count(headers: Any) -> int:
    """Return how often the message was delivered and came back."""
    count = headers.get(DELIVERY_COUNT, 0) if isinstance(headers, dict) else 0
    return count if isinstance(count, int) else 0


def publish_dead_letter(publishers: Publishers, message: Any) -> None:
    """Keep the beginning of the message. Raises one of ERRORS."""
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
    publishers.publish(body[:KEPT_BYTES], exchange=EXCHANGE.name, routing_key=DEAD_LETTERS)
