"""The ids that a rejected body names, as far as they can be told, so that it is found when its conversation is erased.

The body may be anything. What is not recognized here is found by its text (`conversations/spelling.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from realmate.wire.ids import parse_uuid


class Named(NamedTuple):
    """The ids that a body names, in their canonical form."""

    conversation_id: str | None = None
    message_id: str | None = None


class _Data(msgspec.Struct):
    id: Any = None
    conversation_id: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    data: _Data | None = None


_decoder = msgspec.json.Decoder(_Event)


def named(body: bytes) -> Named:
    """Return the ids that the body names, however wrong it is otherwise."""
    try:
        event = _decoder.decode(body)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return Named()
    data = event.data or _Data()
    own, conversation = _id(data.id), _id(data.conversation_id)
    if event.type in ("NEW_CONVERSATION", "CLOSE_CONVERSATION"):
        return Named(own)
    if event.type == "NEW_MESSAGE" or conversation is not None:
        return Named(conversation, own)
    return Named(own)


def _id(value: Any) -> str | None:
    try:
        return parse_uuid(value)
    except (TypeError, ValueError):
        return None
