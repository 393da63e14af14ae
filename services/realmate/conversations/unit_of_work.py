"""The work of one transaction: it locks and loads, lets the domain decide in memory, and writes everything at the end.

Used by the commands and by the sweep. It decides nothing itself and commits nothing: the transaction's owner does.

It is optimistic: new rows are taken to be new until they violate a key. Then the commit raises Overtaken, and the next
attempt looks first. So the usual event, which is new, costs no look at what is stored under its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from realmate.conversations import change_statements, reply_statements, statements
from realmate.conversations.holding import Holding
from realmate.conversations.portions import LONGEST_PAUSE_S, Portion, cut, plan
from realmate.conversations.rejections import Rejection
from realmate.conversations.rows import (
    ConversationRow,
    GrownRow,
    LockedRow,
    ReplyRow,
    conversation_of,
    conversation_row,
    grown_row,
    message_of,
    message_row,
    reply_row,
)
from realmate.conversations.rules import RuleBook
from realmate.domain.changes import Touched, What, encode
from realmate.domain.decide import Decision, decide, decide_due
from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import (
    REPLY_HEADING,
    Conversation,
    ConversationId,
    HeldMessage,
    Message,
    MessageId,
    MessageKind,
    Reply,
    Status,
)
from realmate.runtime.transaction import Statement, Transaction, uuid_array

_encoder = msgspec.json.Encoder()


class UnitOfWork:
    def __init__(self, transaction: Transaction, rules: RuleBook, holding: Holding | None = None) -> None:
        """`holding` is what this process knows of the sources' held messages: it bounds what is held from now on."""
        self._transaction = transaction
        self._rules = rules
        self._holding = holding or Holding()
        self._stored: dict[ConversationId, Conversation] = {}
        self._current: dict[ConversationId, Conversation] = {}
        self._known: dict[MessageId, Message] = {}
        self._messages: dict[MessageId, Message] = {}
        self._admitted: list[HeldMessage] = []
        self._moved: dict[ConversationId, list[int]] = {}
        """The seqs of each conversation's messages that were held and are not any more."""
        self._expires: set[ConversationId] = set()
        self.expired: list[HeldMessage] = []
        self.taken = Portion(0, 0, 0)
        """How much `decide_due` and `decide_stranded` have processed."""
        self.leaves_more = False
        """Whether more may have been due than was processed."""
        self.only_taken: ConversationId | None = None
        """The conversation, if that was a single one and cannot be taken in smaller parts."""
        self.replies: list[Reply] = []

    def decide_all(self, events: Sequence[Event], *, look_first: bool) -> list[Verdict]:
        """Lock what the events name, then decide them in their order. One verdict an event."""
        now = self._lock(statements.LOCK, uuid_array(sorted({event.conversation_id.text for event in events})))
        if look_first or self._may_reject(events):
            self._load_known([event for event in events if isinstance(event, NewMessage)])
        self._load_held(event.conversation_id for event in events if isinstance(event, NewConversation))
        return [self._decide(event, now) for event in events]

    def decide_all_due(self, but: Collection[int], whole: Portion) -> None:
        """Lock what is due and not locked by anybody else, but for some sources, and decide each other one's share."""
        rows = self._transaction.fetch(statements.LOCK_ALL_DUE, list(but), whole.conversations)
        sources = rows[0][-1] or 1
        now = self._keep([row[:-1] for row in rows])
        self._settle(now, whole.shared_by(sources))

    def decide_due(self, sources: Sequence[int], share: Portion) -> None:
        """Lock and decide what is due of these sources alone. The share is that of each source."""
        self._settle(self._lock(statements.LOCK_DUE, list(sources), share.conversations), share)

    def decide_stranded(self, share: Portion) -> None:
        """Lock and decide conversations that are due further ahead than any timer reaches: the clock was set back.

        Twice the longest wait: beyond it `decide_due` settles whatever there is, so none of them is met again.
        """
        horizon_s = 2 * self._rules.longest_wait.total_seconds()
        now = self._lock(statements.LOCK_STRANDED, share.conversations, horizon_s, LONGEST_PAUSE_S)
        self._settle(now, share)

    def _settle(self, now: datetime, share: Portion) -> None:
        chosen = plan(self._stored.values(), share)
        self.taken = Portion(len(chosen), sum(chosen.values()), share.bytes)
        of_sources = Counter(key.source_id for key in self._stored)
        self.leaves_more = len(chosen) < len(self._stored) or share.conversations in of_sources.values()
        if len(chosen) == 1:
            [(key, most)] = chosen.items()
            self.only_taken = key if most == 1 or self._stored[key].group else None
        pending = {key: most for key, most in chosen.items() if self._stored[key].status is Status.PENDING}
        held = cut(self._load_oldest_held(pending), chosen, share)
        for key in chosen:
            conversation, more_held = self._stored[key], False
            if key in pending:
                if key not in held:
                    self.leaves_more = True
                    continue  # the bytes of others were enough
                messages, more_held = held[key]
                self.leaves_more = self.leaves_more or more_held
                conversation = conversation._replace(held=messages)
            self._record(decide_due(conversation, now, self._rules.of(key.source_id), more_held=more_held))

    def save(
        self,
        applied: Mapping[str, bytes] | None = None,
        markers: Sequence[Mapping[str, object]] = (),
        rejections: Sequence[Rejection] = (),
    ) -> None:
        """Write what was decided, with the verdicts of batches by their ids, the markers of keys and the rejections.

        The commit may yet raise Overtaken.
        """
        self._set_kind(self._admitted, MessageKind.INBOUND)
        self._set_kind(self.expired, MessageKind.EXPIRED)
        self._save_conversations()
        messages = [message_row(message) for _, message in sorted(self._messages.items())]
        self._write(statements.INSERT_MESSAGES, messages, self._now)
        self._save_replies()  # after the messages, of which they may name some
        if applied:
            self._transaction.add(statements.INSERT_APPLIED, [*applied], [*applied.values()])
        self._write(statements.INSERT_KEYS, markers)
        self._write(statements.INSERT_REJECTIONS, rejections)
        if self.expired:
            self._transaction.add(statements.INSERT_EXPIRED, *_arrays(self.expired))
        if touched := encode(self._touched()):  # the last: its number is drawn when every lock is held
            self._transaction.add(change_statements.INSERT_CHANGE, self._now, touched)

    # --- load ---

    def _lock(self, statement: Statement, *values: object) -> datetime:
        return self._keep(self._transaction.fetch(statement, *values))

    def _keep(self, rows: Sequence[tuple[Any, ...]]) -> datetime:
        """Take the conversations from the rows, and the moment from the last one: all that comes in arrives then."""
        for values in rows:
            row = LockedRow._make(values[:-1])
            if row.id is not None:
                conversation = conversation_of(row, row.id)
                self._stored[conversation.id] = self._current[conversation.id] = conversation
        now: datetime = rows[-1][-1]
        self._now = now
        return now

    def _may_reject(self, events: Sequence[Event]) -> bool:
        """Whether a message may be rejected. A rejected message is not inserted, so no insert would find its duplicate.

        It may meet a closed conversation, or one for which enough is held already.
        """
        return any(isinstance(event, CloseConversation) for event in events) or any(
            conversation.status is Status.CLOSED or self._may_be_full(conversation)
            for conversation in self._stored.values()
        )

    def _may_be_full(self, conversation: Conversation) -> bool:
        """Whether one more batch may reach a limit. Below half of the limit it is not worth a look."""
        if not conversation.held_messages:
            return False
        rules = self._holding.room(conversation.id.source_id, self._rules.of(conversation.id.source_id))
        return any(
            most is not None and 2 * held > most
            for held, most in (
                (conversation.held_messages, rules.hold_max_messages),
                (conversation.held_bytes, rules.hold_max_bytes),
            )
        )

    def _load_known(self, messages: Sequence[NewMessage]) -> None:
        if not messages:
            return
        wanted = {(message.message_id.text, len(message.content.encode())) for message in messages}
        texts, sizes = zip(*sorted(wanted), strict=True)
        for row in self._transaction.fetch(statements.KNOWN_MESSAGES, uuid_array(texts), list(sizes)):
            message = message_of(row)
            if message.content or message.id not in self._known:
                self._known[message.id] = message

    def _load_held(self, conversation_ids: Iterable[ConversationId]) -> None:
        """Complete the PENDING ones among these: only opening and sweeping look at what is held."""
        held: dict[ConversationId, list[HeldMessage]] = {
            key: [] for key in conversation_ids if key in self._stored and self._stored[key].status is Status.PENDING
        }
        if not held:
            return
        for text, source_id, conversation, seq, arrived_at in self._transaction.fetch(
            statements.HELD_MESSAGES, uuid_array(key.text for key in held)
        ):
            if (key := ConversationId(conversation, source_id)) in held:
                held[key].append(HeldMessage(MessageId(text, source_id), seq, arrived_at))
        for key, messages in held.items():
            self._stored[key] = self._current[key] = self._stored[key]._replace(held=tuple(messages))

    def _load_oldest_held(self, wanted: Mapping[ConversationId, int]) -> dict[ConversationId, list[HeldMessage]]:
        """Load so many held messages of each conversation, and one more where there is one."""
        held: dict[ConversationId, list[HeldMessage]] = {key: [] for key in wanted}
        if wanted:
            source_ids, most = [key.source_id for key in wanted], [each + 1 for each in wanted.values()]
            for text, source_id, conversation, *rest in self._transaction.fetch(
                statements.OLDEST_HELD, uuid_array(key.text for key in wanted), source_ids, most
            ):
                held[ConversationId(conversation, source_id)].append(HeldMessage(MessageId(text, source_id), *rest))
        return held

    # --- decide ---

    def _decide(self, event: Event, now: datetime) -> Verdict:
        key = event.conversation_id
        conversation = self._current.get(key) or Conversation(key)
        known = self._known.get(event.message_id) if isinstance(event, NewMessage) else None
        rules = self._rules.of(key.source_id)
        if conversation.status is Status.PENDING and isinstance(event, NewMessage):
            rules = self._holding.room(key.source_id, rules)
        decision = decide(conversation, event, now, known=known, rules=rules)
        self._record(decision)
        if decision.verdict is Verdict.HELD:
            self._holding.add(key.source_id, decision.conversation.held[-1:])
        if decision.verdict is None:
            raise AssertionError("an event always gets a verdict")
        return decision.verdict

    def _record(self, decision: Decision) -> None:
        self._current[decision.conversation.id] = decision.conversation
        if message := decision.message:
            self._messages[message.id] = self._known[message.id] = message
        for held in decision.admitted:
            if held.id in self._messages:  # held by this very transaction
                self._messages[held.id] = self._messages[held.id]._replace(kind=MessageKind.INBOUND)
            else:
                self._admitted.append(held)
        if decision.admitted or decision.expired:
            moved = self._moved.setdefault(decision.conversation.id, [])
            moved += [held.seq for held in (*decision.admitted, *decision.expired)]
        if decision.expired:
            self._expires.add(decision.conversation.id)
            self.expired += decision.expired
        self.replies += decision.replies

    # --- save ---

    def _touched(self) -> Iterator[Touched]:
        """Yield an entry for each conversation of which a reader may learn something new."""
        for key, after in self._current.items():
            before = self._stored.get(key) or Conversation(key)
            if after is before:
                continue
            is_open = after.status is not Status.PENDING
            first, last = before.last_seq + 1, after.last_seq if is_open else 0
            what: int = What.EXPIRED if key in self._expires else 0
            if moved := self._moved.get(key):
                first, last = min(first, *moved), max(last, *moved)
            if is_open:
                what |= What.OPENED if before.status is Status.PENDING else 0
                what |= What.MESSAGES if last >= first else 0
                what |= What.CLOSED if after.status is not before.status and after.status is Status.CLOSED else 0
            if what:
                yield Touched(*key, *((first, last) if last >= first else (0, 0)), what)

    def _save_conversations(self) -> None:
        new: list[ConversationRow] = []
        changed: list[ConversationRow] = []
        grown: list[GrownRow] = []
        for key, after in sorted(self._current.items()):
            before = self._stored.get(key)
            if before is None:
                if not after.is_blank:
                    new.append(conversation_row(after))
            elif row := grown_row(before, after):
                grown.append(row)
            elif before is not after:
                changed.append(conversation_row(after))
        self._write(statements.INSERT_CONVERSATIONS, new)
        self._write(statements.UPDATE_CONVERSATIONS, changed)
        self._write(statements.GROW_GROUPS, grown, self._now)

    def _save_replies(self) -> None:
        made: list[ReplyRow] = []
        asked: list[ReplyRow] = []
        for reply in self.replies:
            (asked if self._rules.has_responder(reply.conversation_id.source_id) else made).append(reply_row(reply))
        self._write(statements.INSERT_REPLIES, made, REPLY_HEADING)
        self._write(reply_statements.INSERT_REPLY_REQUESTS, asked)

    def _set_kind(self, held: Sequence[HeldMessage], kind: MessageKind) -> None:
        if held:
            self._transaction.add(statements.SET_KIND, *_arrays(held), int(kind))

    def _write(self, statement: Statement, rows: Sequence[object], *values: object) -> None:
        if rows:
            self._transaction.add(statement, _encoder.encode(rows).decode(), *values)


def _arrays(messages: Sequence[HeldMessage]) -> tuple[str, list[int]]:
    """Return the messages' ids and their sources, as parameters of a statement."""
    return uuid_array(message.id.text for message in messages), [message.id.source_id for message in messages]
