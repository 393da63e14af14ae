"""What senders do: little plays that together bring about every verdict of the contract, and its races.

Pauses are drawn around the group's window and the hold's tolerance, for on both sides of them different things are due.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from sender import Sender

Script = Callable[[Sender], Awaitable[None]]


def new_id() -> str:
    return str(uuid.uuid4())


async def _gap(sender: Sender) -> None:
    await sender.pause(sender.window_s * sender.random.choice([0, 0, 0.1, 0.3, 0.6, 0.9, 1.2, 1.7]))


async def _maybe_read(sender: Sender, conversation: str) -> None:
    if sender.random.random() < 0.3:
        await sender.read(conversation)


async def _together(*calls: Awaitable[object]) -> None:
    """All at once. Who is stopped waits for the others: what was sent is answered."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def chat(sender: Sender) -> None:
    """Open, talk in bursts, close (often while a group is pending), and try what is not allowed any more."""
    conversation, messages = new_id(), [new_id() for _ in range(sender.random.randint(1, 6))]
    await sender.open(conversation)
    for message in messages:
        await sender.say(conversation, message)
        await _maybe_read(sender, conversation)
        await _gap(sender)
    if sender.random.random() < 0.7:
        await sender.close(conversation)
        await _maybe_read(sender, conversation)
        await afterlife(sender, conversation, messages)


async def afterlife(sender: Sender, conversation: str, messages: list[str]) -> None:
    for _ in range(sender.random.randint(0, 2)):
        await sender.random.choice(
            [
                lambda: sender.say(conversation),
                lambda: sender.say(conversation, sender.random.choice(messages)),
                lambda: sender.open(conversation),
                lambda: sender.close(conversation),
            ]
        )()
    await _maybe_read(sender, conversation)


async def race(sender: Sender) -> None:
    """Messages, their twins, two openings and two closings, all at once."""
    conversation, twin = new_id(), new_id()
    await _together(
        sender.open(conversation),
        sender.open(conversation),
        sender.say(conversation, twin),
        sender.say(conversation, twin),
        sender.say(conversation),
    )
    await _gap(sender)
    await _together(
        sender.say(conversation, twin),
        sender.say(conversation),
        sender.close(conversation),
        sender.close(conversation),
        sender.say(conversation),
    )
    await _maybe_read(sender, conversation)


async def early(sender: Sender) -> None:
    """Messages before their conversation: in time, too late, and some of both."""
    conversation, messages = new_id(), [new_id() for _ in range(sender.random.randint(1, 3))]
    for message in messages:
        await sender.say(conversation, message)
        await _gap(sender)
    await sender.pause(sender.tolerance_s * sender.random.choice([0, 0.3, 0.8, 1.2]))
    await sender.open(conversation)
    await _maybe_read(sender, conversation)
    await _together(*(sender.say(conversation, message) for message in messages))
    await sender.say(conversation)
    if sender.random.random() < 0.5:
        await sender.close(conversation)


async def orphan(sender: Sender) -> None:
    """A message whose conversation never comes."""
    conversation, message = new_id(), new_id()
    await sender.say(conversation, message)
    await sender.close(conversation)
    await sender.read(conversation)
    await sender.pause(sender.tolerance_s * 1.3)
    await sender.say(conversation, message)


async def conflict(sender: Sender) -> None:
    """One id for two messages: other content, and another conversation."""
    conversation, other, message = new_id(), new_id(), new_id()
    await _together(sender.open(conversation), sender.open(other))
    await sender.say(conversation, message)
    await _together(sender.say(conversation, message, "Olá"), sender.say(other, message))
    await sender.close(other)


SCRIPTS: dict[Script, int] = {chat: 10, race: 3, early: 4, orphan: 1, conflict: 1}
"""With how often each is played."""
