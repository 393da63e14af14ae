"""Samples: events with ids that nobody knows, sent to an endpoint to see whether it takes them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from realmate.deliveries.attempts import Result, attempt
from realmate.domain.changes import EVENT_TYPES, MESSAGE_TYPES
from realmate.feed.events import Event, Message, conversation_event, message_event
from realmate.sources.endpoints import Endpoint
from realmate.sources.model import DEFAULT
from realmate.wire.printable import printable

CONTENT = "This is a sample, sent by realmate."


def sample(kind: str, source: str) -> Event:
    """Return an event of this type."""
    now, key = datetime.now(UTC), str(uuid.uuid4())
    for message_kind, message_type in MESSAGE_TYPES.items():
        if message_type == kind:
            event = message_event(source, key, now, Message(str(uuid.uuid4()), 1, message_kind, now, CONTENT))
            if event is not None:
                return event
    return conversation_event(source, key, kind, now)


def send(endpoint: Endpoint, kind: str) -> bool:
    """Send a sample, and show what came of it. Return whether it was taken."""
    source = min(endpoint.sources) if endpoint.sources else DEFAULT
    event = sample(kind, source)
    result = attempt(endpoint, event, 0, gap=False)
    color = "green" if result.is_delivered else "red"
    click.echo(f"{endpoint.name}  {kind}  {event.id}  {click.style(_outcome(result), fg=color)}  {result.took_s:.3f} s")
    if result.answer:
        click.echo(printable(result.answer.decode(errors="backslashreplace")))
    return result.is_delivered


def first_wanted(endpoint: Endpoint) -> str:
    """Return the first type of event that the endpoint wants."""
    return next(kind for kind in EVENT_TYPES if endpoint.events is None or kind in endpoint.events)


def _outcome(result: Result) -> str:
    return f"status {result.status}" if result.status is not None else result.failure
