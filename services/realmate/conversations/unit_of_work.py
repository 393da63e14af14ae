"""One transaction's work: lock and load, let the domain decide in memory, write everything at the end.

Used by the commands and by the sweep. It decides nothing itself and commits nothing: the session's owner does.

It is optimistic: new rows are taken to be new until `save` finds that they are not. Then it raises Overtaken, and the
next attempt looks first. So the usual event, which is new, costs no look at what is stored under its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Row, TextClause

from realmate.conversations import statements
from realmate.conversations.statements import uuid_array
from realmate.domain.decide import Decision, decide, decide_due
from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import (
    Conversation,
    ConversationId,
    Group,
    HeldMessage,
    Kind,
    Message,
    MessageId,
    Reply,
    Rules,
    Status,
    render_reply,
)
from realmate.runtime.database import Overtaken

_STATUS = {int(status): status for status in Status}  # a quarter of the cost of Status(number)

_encoder = msgspec.json.Encoder(uuid_format="hex")


class UnitOfWork:
    def __init__(self, connection: Connection, rules: Rules) -> None:
        self._connection = connection
        self._rules = rules
        self._stored: dict[ConversationId, Conversation] = {}
        self._current: dict[ConversationId, Conversation] = {}
        self._known: dict[MessageId, Message] = {}
        self._messages: dict[MessageId, Message] = {}
        self._admitted: list[HeldMessage] = []
        self.expired: list[HeldMessage] = []
        self.replies: list[Reply] = []

    def decide_all(self, events: Sequence[Event], *, look_first: bool) -> list[Verdict]:
        """Lock what the events name, then decide them in their order. One verdict an event."""
        now = self._lock(statements.LOCK, ids=uuid_array(sorted({event.conversation_id for event in events})))
        if look_first or self._may_refuse(events):
            self._load_known([event.message_id for event in events if isinstance(event, NewMessage)])
        self._load_held(event.conversation_id for event in events if isinstance(event, NewConversation))
        return [self._decide(event, now) for event in events]

    def decide_due(self, limit: int) -> int:
        """Lock at most `limit` conversations that are due and that nobody else has locked. How many there were."""
        return self._settle(self._lock(statements.LOCK_DUE, limit=limit))

    def decide_stranded(self, limit: int) -> int:
        """The same for those that are due further ahead than any timer reaches: the clock was set back.

        Twice the longest wait: beyond it `decide_due` settles whatever there is, so none of them is met again.
        """
        horizon = 2 * max(self._rules.group_window, self._rules.hold_tolerance)
        return self._settle(self._lock(statements.LOCK_STRANDED, limit=limit, horizon_s=horizon.total_seconds()))

    def _settle(self, now: datetime) -> int:
        due = list(self._stored)
        self._load_held(due)
        for conversation_id in due:
            self._take(decide_due(self._current[conversation_id], now, self._rules))
        return len(due)

    def save(self, applied: Iterable[tuple[str, bytes]] = ()) -> None:
        """Write what was decided, and the batches it applies (id, verdicts).

        Raise Overtaken if another transaction wrote one of the new rows first, or one is not new at all.
        """
        self._set_kind(self._admitted, Kind.INBOUND)
        self._set_kind(self.expired, Kind.EXPIRED)
        current, stored = self._current.items(), self._stored
        self._write(
            new=[_row(after) for key, after in current if key not in stored and not after.is_blank],
            changed=[_row(after) for key, after in current if stored.get(key, after) is not after],
            messages=list(self._messages.values()),
            batches=[{"id": batch_id, "verdicts": f"\\x{verdicts.hex()}"} for batch_id, verdicts in applied],
        )
        if self.replies:  # after the messages, of which a reply may name some
            self._write(messages=self._render_replies())

    # --- load ---

    def _lock(self, statement: TextClause, **parameters: object) -> datetime:
        rows = self._connection.execute(statement, parameters).all()
        for row in rows:
            if row.id is not None:
                conversation = _conversation(row)
                self._stored[conversation.id] = self._current[conversation.id] = conversation
        now: datetime = rows[-1].now
        return now

    def _may_refuse(self, events: Sequence[Event]) -> bool:
        """Whether a message may meet a closed conversation: refused, it has no insert that would find its twin."""
        return any(conversation.status is Status.CLOSED for conversation in self._stored.values()) or any(
            isinstance(event, CloseConversation) for event in events
        )

    def _load_known(self, message_ids: list[MessageId]) -> None:
        if not message_ids:
            return
        for row in self._connection.execute(statements.KNOWN_MESSAGES, {"ids": uuid_array(message_ids)}):
            self._known[MessageId(row.id)] = _message(row)

    def _load_held(self, conversation_ids: Iterable[ConversationId]) -> None:
        """Complete the PENDING ones among these: only opening and sweeping look at what is held."""
        held: dict[ConversationId, list[HeldMessage]] = {
            key: [] for key in conversation_ids if key in self._stored and self._stored[key].status is Status.PENDING
        }
        if not held:
            return
        for row in self._connection.execute(statements.HELD_MESSAGES, {"ids": uuid_array(held)}):
            held[row.conversation_id].append(HeldMessage(MessageId(row.id), row.seq, row.arrived_at))
        for key, messages in held.items():
            self._stored[key] = self._current[key] = self._stored[key]._replace(held=tuple(messages))

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
            self._messages[message.id] = self._known[message.id] = message
        for held in decision.admitted:
            if held.id in self._messages:  # held by this very transaction
                self._messages[held.id] = replace(self._messages[held.id], kind=Kind.INBOUND)
            else:
                self._admitted.append(held)
        self.expired += decision.expired
        self.replies += decision.replies

    # --- save ---

    def _set_kind(self, held: Sequence[HeldMessage], kind: Kind) -> None:
        if held:
            ids = uuid_array(message.id for message in held)
            self._connection.execute(statements.SET_KIND, {"kind": int(kind), "ids": ids})

    def _write(self, **rows: list[Any]) -> None:
        """Write these rows: `new` and `changed` conversations, `messages`, applied `batches`. Raise Overtaken."""
        parameters = {name: _encoder.encode(rows.get(name, ())).decode() for name in statements.SAVED}
        written = self._connection.execute(statements.SAVE, parameters).scalar_one()
        if written != sum(len(part) for part in rows.values()):
            raise Overtaken

    def _render_replies(self) -> list[Message]:
        replies = {(reply.conversation_id, reply.seq): reply for reply in self.replies}
        groups = self._connection.execute(
            statements.GROUP_MEMBERS, {"replies": _encoder.encode(self.replies).decode()}
        ).all()
        return [self._render(replies[group.conversation_id, group.seq], group.message_ids) for group in groups]

    def _render(self, reply: Reply, message_ids: Sequence[str]) -> Message:
        return Message(
            MessageId(uuid4()),
            reply.conversation_id,
            reply.seq,
            Kind.OUTBOUND,
            render_reply(message_ids, self._rules),
            timestamp=reply.made_at,
            arrived_at=reply.made_at,
        )


class _Row(msgspec.Struct, omit_defaults=True):
    """A conversation as a row of its table. What is null is left out: the rest is less to write and to parse."""

    id: ConversationId
    status: Status
    created_at: datetime | None
    updated_at: datetime | None
    last_seq: int
    opened_timestamp: datetime | None = None
    closed_timestamp: datetime | None = None
    due_at: datetime | None = None
    group_first_seq: int | None = None
    group_last_at: datetime | None = None


def _conversation(row: Row[Any]) -> Conversation:
    group = None if row.group_first_seq is None else Group(row.group_first_seq, row.group_last_at)
    return Conversation(
        ConversationId(row.id),
        _STATUS[row.status],
        row.created_at,
        row.updated_at,
        row.opened_timestamp,
        row.closed_timestamp,
        row.last_seq,
        group,
        row.due_at,
    )


def _message(row: Row[Any]) -> Message:
    return Message(
        MessageId(row.id),
        ConversationId(row.conversation_id),
        row.seq,
        Kind(row.kind),
        row.content,
        row.timestamp,
        row.arrived_at,
    )


def _row(conversation: Conversation) -> _Row:
    row = _Row(
        conversation.id,
        conversation.status,
        conversation.created_at,
        conversation.updated_at,
        conversation.last_seq,
        conversation.opened_timestamp,
        conversation.closed_timestamp,
        conversation.due_at,
    )
    if group := conversation.group:
        row.group_first_seq, row.group_last_at = group
    return row
