"""How late each reply was made: after its group's last message and the window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from cases import Terms
from realmate.domain.model import MessageKind
from stored import Stored, StoredMessage


class Reply(NamedTuple):
    due_at: float
    """On the history's clock."""
    late_s: float


def replies(stored: Stored, terms: Terms) -> Iterator[Reply]:
    """Those of conversations that the end of their window ended; a closing answers a group before it is due.

    Nothing can be said of what was stored while the database's clock was wrong.
    """
    of_conversation: dict[str, list[StoredMessage]] = defaultdict(list)
    for message in stored.messages.values():
        of_conversation[message.conversation].append(message)
    for key, messages in of_conversation.items():
        opened_at = stored.conversations[key].created_at
        arrived_at = {message.id: message.arrived_at for message in messages}
        for reply in messages:
            if reply.kind is not MessageKind.OUTBOUND or opened_at is None:
                continue
            last_at = max(arrived_at[name] for name in reply.named)
            found = _reply(max(last_at, opened_at), reply.arrived_at, terms)
            if not any(start <= found.due_at <= end for start, end in terms.clock_jumps):
                yield found


def _reply(last_at: datetime, made_at: datetime, terms: Terms) -> Reply:
    due_at = last_at + terms.window
    return Reply((due_at - terms.epoch).total_seconds(), (made_at - due_at).total_seconds())
