"""RabbitMQ's errors, explained to a person. Readiness shows the explanations to everybody."""

from __future__ import annotations

from amqp.exceptions import AMQPError, MessageNacked

from realmate.runtime.health import NotReady


def explain(error: Exception | None) -> NotReady:
    """Why RabbitMQ does not do what was asked. Its own text names the queue or the exchange; the user stays out."""
    if isinstance(error, MessageNacked):
        return NotReady("RabbitMQ did not take a message: a queue is full, or has no leader")
    if isinstance(error, AMQPError) and error.reply_text:
        return NotReady(f"RabbitMQ rejects: {str(error.reply_text).partition(' for user ')[0]}")
    if isinstance(error, TimeoutError):
        return NotReady("RabbitMQ does not answer")
    return NotReady("RabbitMQ cannot be reached")
