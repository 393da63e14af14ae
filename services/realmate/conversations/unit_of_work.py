"""One transaction's work: lock and load, let the domain decide in memory, write everything at the end.

Used by the commands and by the sweep. It decides nothing itself and commits nothing: the session's owner does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, TextClause

from realmate.conversations import statements
from realmate.conversations.statements import CONVERSATION_COLUMNS, MESSAGE_COLUMNS, array
from realmate.domain.decide import Decision, decide, decide_due
from realmate.domain.events import Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import (
    Conversation,
    ConversationId,
    Group,
    HeldMessage,
    Kind,
    KnownMessage,
    Message,
    MessageId,
    Reply,
    Rules,
    Status,
    render_reply,
)
from realmate.runtime.database import Overtaken


class UnitOfWork:
    def __init__(self, connection: Connection, rules: Rules) -> None:
        self._connection = connection
        self._rules = rules
        self._stored: dict[ConversationId, Conversation] = {}
        self._current: dict[ConversationId, Conversation] = {}
        self._known: dict[MessageId, KnownMessage] = {}
        self._messages: list[Message] = []
        self._admitted: list[HeldMessage] = []
        self.expired: list[HeldMessage] = []
        self.replies: list[Reply] = []

    def decide_all(self, events: Sequence[Event]) -> list[Verdict]:
        """Lock what the events name, then decide them in their order. One verdict an event."""
        now = self._lock(statements.LOCK_CONVERSATIONS, ids=array(sorted({event.conversation_id for event in events})))
        self._load_known([event.message_id for event in events if isinstance(event, NewMessage)])
        self._load_held([event.conversation_id for event in events if isinstance(event, NewConversation)])
        return [self._decide(event, now) for event in events]

    def decide_due(self, limit: int) -> int:
        """Lock at most `limit` conversations that are due and that nobody else has locked. How many there were."""
        now = self._lock(statements.LOCK_DUE, limit=limit)
        due = list(self._stored)
        self._load_held(due)
        for conversation_id in due:
            self._take(decide_due(self._current[conversation_id], now, self._rules))
        return len(due)

    def save(self) -> None:
        """Write what was decided. Raise Overtaken if another transaction wrote the same new row first."""
        new = [row for key, row in self._current.items() if key not in self._stored and row.last_seq | row.status]
        changed = [row for key, row in self._current.items() if self._stored.get(key, row) is not row]
        if new:
            self._insert(statements.INSERT_CONVERSATIONS, _conversation_arrays(new), len(new))
        if changed:
            self._connection.execute(statements.UPDATE_CONVERSATIONS, _conversation_arrays(changed))
        self._insert_messages(self._messages)
        self._set_kind(self._admitted, Kind.INBOUND)
        self._set_kind(self.expired, Kind.EXPIRED)
        if self.replies:
            self._insert_messages(self._render_replies())

    # --- load ---

    def _lock(self, statement: TextClause, **parameters: object) -> datetime:
        rows = self._connection.execute(statement, parameters).all()
        for row in rows:
            if row.id is not None:
                conversation = _conversation(row)
                self._stored[conversation.id] = self._current[conversation.id] = conversation
        now: datetime = rows[-1].now
        return now

    def _load_known(self, message_ids: list[MessageId]) -> None:
        if not message_ids:
            return
        for row in self._connection.execute(statements.KNOWN_MESSAGES, {"ids": array(message_ids)}):
            self._known[MessageId(row.id)] = KnownMessage(
                ConversationId(row.conversation_id), Kind(row.kind), row.content, row.arrived_at
            )

    def _load_held(self, conversation_ids: Iterable[ConversationId]) -> None:
        """Complete the PENDING ones among these: only opening and sweeping look at what is held."""
        pending = {
            key for key in conversation_ids if key in self._stored and self._stored[key].status is Status.PENDING
        }
        if not pending:
            return
        held: dict[ConversationId, list[HeldMessage]] = {key: [] for key in pending}
        for row in self._connection.execute(statements.HELD_MESSAGES, {"ids": array(pending)}):
            held[row.conversation_id].append(HeldMessage(MessageId(row.id), row.seq, row.arrived_at))
        for key, messages in held.items():
            self._stored[key] = self._current[key] = replace(self._stored[key], held=tuple(messages))

    # --- decide ---

    def _decide(self, event: Event, now: datetime) -> Verdict:
        key = event.conversation_id
        conversation = self._current.get(key) or Conversation(key)
        known = self._known.get(event.message_id) if isinstance(event, NewMessage) else None
        decision = decide(conversation, event, now, known=known, rules=self._rules)
        self._take(decision)
        if decision.verdict is None:
            raise AssertionError("an event always gets a verdict")
        return decision.verdict

    def _take(self, decision: Decision) -> None:
        self._current[decision.conversation.id] = decision.conversation
        if message := decision.message:
            self._messages.append(message)
            self._known[message.id] = KnownMessage(
                message.conversation_id, message.kind, message.content, message.arrived_at
            )
        self._admitted += decision.admitted
        self.expired += decision.expired
        self.replies += decision.replies

    # --- save ---

    def _insert(self, statement: TextClause, arrays: dict[str, Any], count: int) -> None:
        if self._connection.execute(statement, arrays).rowcount != count:
            raise Overtaken

    def _insert_messages(self, messages: Sequence[Message]) -> None:
        if messages:
            self._insert(statements.INSERT_MESSAGES, _message_arrays(messages), len(messages))

    def _set_kind(self, held: Sequence[HeldMessage], kind: Kind) -> None:
        if held:
            ids = array(message.id for message in held)
            self._connection.execute(statements.SET_KIND, {"kind": int(kind), "ids": ids})

    def _render_replies(self) -> list[Message]:
        """The OUTBOUND messages. Their groups' members are read back, as most were stored by earlier transactions."""
        members: list[list[MessageId]] = [[] for _ in self.replies]
        arrays = {
            name: array(getattr(reply, name) for reply in self.replies)
            for name in ("conversation_id", "first_seq", "last_seq")
        }
        for position, message_id in self._connection.execute(statements.GROUP_MEMBERS, arrays):
            members[position - 1].append(message_id)
        return [
            Message(
                MessageId(uuid4()),
                reply.conversation_id,
                reply.seq,
                Kind.OUTBOUND,
                render_reply(message_ids, self._rules),
                timestamp=reply.made_at,
                arrived_at=reply.made_at,
            )
            for reply, message_ids in zip(self.replies, members, strict=True)
        ]


def _conversation(row: Row[Any]) -> Conversation:
    group = None if row.group_first_seq is None else Group(row.group_first_seq, row.group_last_at)
    return Conversation(
        ConversationId(row.id),
        Status(row.status),
        row.created_at,
        row.updated_at,
        row.opened_timestamp,
        row.closed_timestamp,
        row.last_seq,
        group,
        row.due_at,
    )


def _conversation_arrays(conversations: Sequence[Conversation]) -> dict[str, str]:
    same = [name for name in CONVERSATION_COLUMNS if not name.startswith("group_")]
    arrays = {name: array(getattr(row, name) for row in conversations) for name in same}
    arrays["group_first_seq"] = array(row.group.first_seq if row.group else None for row in conversations)
    arrays["group_last_at"] = array(row.group.last_arrived_at if row.group else None for row in conversations)
    return arrays


def _message_arrays(messages: Sequence[Message]) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        name: array(getattr(message, name) for message in messages) for name in MESSAGE_COLUMNS if name != "content"
    }
    arrays["content"] = [message.content for message in messages]
    return arrays
