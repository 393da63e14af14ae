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


def try_out(endpoint: Endpoint, kind: str) -> tuple[Event, Result]:
    """Send a sample once. Return it with what came of it."""
    source = min(endpoint.sources) if endpoint.sources else DEFAULT
    event = sample(kind, source)
    return event, attempt(endpoint, event, 0, gap=False)


def send(endpoint: Endpoint, kind: str) -> bool:
    """Send a sample, and show what came of it. Return whether it was taken."""
    event, result = try_out(endpoint, kind)
    color = "green" if result.is_delivered else "red"
    click.echo(
        f"{endpoint.name}  {kind}  {event.id}  {click.style(outcome_of(result), fg=color)}  {result.took_s:.3f} s"
    )
    if result.answer:
        click.echo(printable(result.answer.decode(errors="backslashreplace")))
    return result.is_delivered


def first_wanted(endpoint: Endpoint) -> str:
    """Return the first type of event that the endpoint wants."""
    return next(kind for kind in EVENT_TYPES if endpoint.events is None or kind in endpoint.events)


def outcome_of(result: Result) -> str:
    """Return what a person is told of it: the status, or why there is none."""
    return f"status {result.status}" if result.status is not None else result.failure
