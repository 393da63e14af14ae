"""`decide` against a model of the contract, over random histories.

The model is declarative where `decide` is a state machine: it keeps what was sent and when, and reads off it who is in
a conversation and which messages are a group. It knows no timers, so it also says that timers decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from realmate.domain.decide import Decision, decide, decide_due
from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import (
    Conversation,
    ConversationId,
    HeldMessage,
    Message,
    MessageId,
    MessageKind,
    Reply,
    Rules,
    Status,
)

WINDOW, TOLERANCE = timedelta(seconds=5), timedelta(seconds=6)
CONTRACT = Rules(group_window=WINDOW, hold_tolerance=TOLERANCE)
T0 = datetime(2025, 6, 4, 14, 20, tzinfo=UTC)
CONVERSATIONS = [ConversationId(str(UUID(int=number))) for number in (1, 2)]
MESSAGES = [MessageId(str(UUID(int=number))) for number in range(10, 18)]


@dataclass
class Model:
    """contract.md in a few lines, with what a source may set of its own."""

    rules: Rules = CONTRACT
    opened_at: dict[ConversationId, datetime] = field(default_factory=dict)
    closed: set[ConversationId] = field(default_factory=set)
    taken: dict[MessageId, tuple[ConversationId, str, datetime]] = field(default_factory=dict)

    def verdict(self, event: Event, now: datetime) -> Verdict:
        conversation_id = event.conversation_id
        known, closed = conversation_id in self.opened_at, conversation_id in self.closed
        if isinstance(event, NewConversation):
            self.opened_at.setdefault(conversation_id, now)
            return Verdict.CONVERSATION_EXISTS if known else Verdict.CREATED
        if isinstance(event, CloseConversation):
            if not known or closed:
                return Verdict.CONVERSATION_ALREADY_CLOSED if closed else Verdict.CONVERSATION_NOT_FOUND
            self.closed.add(conversation_id)
            return Verdict.CLOSED
        return self.verdict_on_message(event, now)

    def verdict_on_message(self, message: NewMessage, now: datetime) -> Verdict:
        conversation_id = message.conversation_id
        if message.message_id in self.taken:
            if self.taken[message.message_id][:2] != (conversation_id, message.content):
                return Verdict.MESSAGE_CONFLICT
            return Verdict.DUPLICATE if self.is_in_time(message.message_id, now) else Verdict.HOLD_EXPIRED
        if conversation_id in self.closed:
            return Verdict.CONVERSATION_CLOSED
        self.taken[message.message_id] = (conversation_id, message.content, now)
        return Verdict.ACCEPTED if conversation_id in self.opened_at else Verdict.HELD

    def is_in_time(self, message_id: MessageId, now: datetime) -> bool:
        """Its conversation came within the tolerance, or still may."""
        conversation_id, _, sent_at = self.taken[message_id]
        return self.opened_at.get(conversation_id, now) - sent_at <= TOLERANCE

    def groups(self, conversation_id: ConversationId) -> list[list[MessageId]]:
        """Its messages in the order of arrival, parted where more than the window lies between two."""
        if conversation_id not in self.opened_at:
            return []
        mine = [it for it, taken in self.taken.items() if taken[0] == conversation_id and self.is_in_time(it, T0)]
        parted = [[it] for it in mine[:1]]
        for before, after in pairwise(mine):
            if self.parts(parted[-1][0], before, after) or len(parted[-1]) == self.rules.group_max_messages:
                parted.append([])
            parted[-1].append(after)
        return parted

    def parts(self, first: MessageId, before: MessageId, after: MessageId) -> bool:
        """Whether time ends the group of `first` and `before` before `after` comes."""
        first_at, before_at, after_at = (self.taken[it][2] for it in (first, before, after))
        longest = self.rules.group_max_wait
        return after_at - before_at > WINDOW or (longest is not None and after_at - first_at > longest)


@dataclass
class Memory:
    """The least that a store must do around `decide`. It checks what holds after each single decision."""

    rules: Rules = CONTRACT
    at_once: int | None = None
    """So many held messages of a conversation are loaded for a sweep, at most; the rest waits for another turn."""
    conversations: dict[ConversationId, Conversation] = field(default_factory=dict)
    messages: dict[MessageId, Message] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)

    def apply(self, event: Event, now: datetime) -> Verdict | None:
        before = self.load(event.conversation_id, with_held=isinstance(event, NewConversation))
        known = self.messages.get(event.message_id) if isinstance(event, NewMessage) else None
        decision = decide(before, event, now, known=known, rules=self.rules)
        self.save(before, decision, now, closing=isinstance(event, CloseConversation))
        return decision.verdict

    def sweep(self, now: datetime) -> None:
        """In as many turns as it takes: what is due after a turn is swept again."""
        for conversation_id in self.conversations:
            for _turn in range(len(self.messages) + 2):
                before = self.load(conversation_id, with_held=True)
                if before.due_at is None or before.due_at > now:
                    break
                part = before._replace(held=before.held[: self.at_once])
                more_held = len(part.held) < len(before.held)
                self.save(before, decide_due(part, now, self.rules, more_held=more_held), now)
                if self.conversations[conversation_id].due_at == now:
                    break  # due at this very moment, which is not over yet
            else:
                raise AssertionError("a sweep goes on for ever")

    def load(self, conversation_id: ConversationId, *, with_held: bool) -> Conversation:
        """As stores may, without the held messages where they decide nothing."""
        held = self.of(conversation_id, MessageKind.HELD) if with_held else []
        stored = self.conversations.get(conversation_id, Conversation(conversation_id))
        return stored._replace(
            held=tuple(HeldMessage(it.id, it.seq, it.arrived_at, len(it.content.encode())) for it in held)
        )

    def save(self, before: Conversation, decision: Decision, now: datetime, *, closing: bool = False) -> None:
        if before.status is Status.CLOSED:
            assert decision._replace(verdict=None) == Decision(before), "a closed conversation never changes"
        if decision.message:
            self.messages[decision.message.id] = decision.message
        for kind, moved in ((MessageKind.INBOUND, decision.admitted), (MessageKind.EXPIRED, decision.expired)):
            for message in moved:
                assert self.messages[message.id].kind is MessageKind.HELD
                self.messages[message.id] = self.messages[message.id]._replace(kind=kind)
        self.conversations[before.id] = decision.conversation._replace(held=())
        held = self.of(before.id, MessageKind.HELD)
        counted = decision.conversation.held_messages, decision.conversation.held_bytes
        assert counted == (len(held), sum(len(it.content.encode()) for it in held))
        self.replies += decision.replies
        for reply in decision.replies:
            assert reply.made_at == now
            assert reply.window_ended_at == self.end_of([it.arrived_at for it in self.answered_by(reply)])
            full = len(self.answered_by(reply)) == self.rules.group_max_messages
            assert closing or full or reply.window_ended_at < now, "no reply before its window ended"
        self.check_that_work_is_due(before.id)

    def check_that_work_is_due(self, conversation_id: ConversationId) -> None:
        """What waits is looked at in time; otherwise a reply could be forgotten."""
        conversation = self.conversations[conversation_id]
        ends = [it.arrived_at + TOLERANCE for it in self.of(conversation_id, MessageKind.HELD)]
        if group := conversation.group:
            ends.append(self.end_of([group.first_arrived_at, group.last_arrived_at]))
        assert not ends or (conversation.due_at is not None and conversation.due_at <= min(ends))

    def end_of(self, arrivals: list[datetime]) -> datetime:
        """Of a group of messages that arrived then."""
        longest = self.rules.group_max_wait
        return min([max(arrivals) + WINDOW, *([] if longest is None else [min(arrivals) + longest])])

    def of(self, conversation_id: ConversationId, kind: MessageKind) -> list[Message]:
        return [it for it in self.messages.values() if it.conversation_id == conversation_id and it.kind is kind]

    def answered_by(self, reply: Reply) -> list[Message]:
        inbound = self.of(reply.conversation_id, MessageKind.INBOUND)
        return [it for it in inbound if reply.first_seq <= it.seq <= reply.last_seq]

    def named(self, conversation_id: ConversationId) -> list[list[MessageId]]:
        """The ids in each reply, in the order of arrival."""
        mine = [reply for reply in self.replies if reply.conversation_id == conversation_id]
        return [[it.id for it in self.answered_by(reply)] for reply in mine]


SWEEP = None
Step = tuple[timedelta, Event | None]

conversation_ids = st.sampled_from(CONVERSATIONS)
timestamps = st.sampled_from([T0 - timedelta(days=365), T0, T0 + timedelta(days=365)])
new_messages = st.builds(
    NewMessage, conversation_ids, timestamps, st.sampled_from(MESSAGES), st.sampled_from(["Oi", "Oi", "Oi", "Olá"])
)
events = st.one_of(
    new_messages,
    new_messages,
    new_messages,
    st.builds(NewConversation, conversation_ids, timestamps),
    st.builds(CloseConversation, conversation_ids, timestamps),
)
#: Both limits are inclusive, so a microsecond on either side of them is where mistakes live.
pauses = st.sampled_from([0, 0, 0.5, 1, 2.5, 4.999999, 5, 5.000001, 5.999999, 6, 6.000001, 20]).map(
    lambda seconds: timedelta(seconds=seconds)
)
thoroughly = settings(max_examples=300)
histories = st.lists(st.tuples(pauses, st.one_of(events, events, st.just(SWEEP))), max_size=40)


#: What a source may set beyond the contract. Longest waits on either side of the window, and of the tolerance.
rules_of_sources = st.just(CONTRACT) | st.builds(
    partial(replace, CONTRACT),
    group_max_wait=st.sampled_from([None, 0.5, 5, 6, 9]).map(lambda it: None if it is None else seconds(it)),
    group_max_messages=st.sampled_from([None, 1, 2, 3]),
)


def play(history: list[Step], rules: Rules = CONTRACT, *, at_once: int | None = None) -> tuple[Memory, Model]:
    """Send the history to both; they must agree on each verdict. Then time passes, and the last sweep is done."""
    memory, model, now = Memory(rules, at_once), Model(rules), T0
    for pause, event in history:
        now += pause
        if event is SWEEP:
            memory.sweep(now)
        else:
            assert memory.apply(event, now) == model.verdict(event, now)
    memory.sweep(now + timedelta(minutes=1))
    return memory, model


def say(number: int, conversation_id: ConversationId = CONVERSATIONS[0]) -> NewMessage:
    return NewMessage(conversation_id, T0, MESSAGES[number], "Oi")


def seconds(pause: float) -> timedelta:
    return timedelta(seconds=pause)


OPEN, CLOSE = NewConversation(CONVERSATIONS[0], T0), CloseConversation(CONVERSATIONS[0], T0)


@thoroughly
@given(histories, rules_of_sources)
@example([(seconds(0), OPEN), (seconds(0), say(0)), (seconds(2), say(1)), (seconds(3), say(2))], CONTRACT)
@example([(seconds(0), say(0)), (seconds(2), OPEN)], CONTRACT)
@example([(seconds(0), say(0)), (seconds(8), OPEN), (seconds(0), say(0))], CONTRACT)
@example([(seconds(0), say(0)), (seconds(5.5), say(1)), (seconds(0.5), OPEN), (seconds(5), say(2))], CONTRACT)
@example([(seconds(0), say(0)), (seconds(5), OPEN), (seconds(0), CLOSE)], CONTRACT)
@example([(seconds(0), OPEN), (seconds(0), say(0)), (seconds(20), CLOSE)], CONTRACT)
def test_every_verdict_and_every_group_is_the_models(history: list[Step], rules: Rules) -> None:
    memory, model = play(history, rules)
    for conversation_id in CONVERSATIONS:
        assert memory.named(conversation_id) == model.groups(conversation_id)
    never_in = {it.id for it in memory.messages.values() if it.kind is MessageKind.EXPIRED}
    assert never_in == {it for it in model.taken if not model.is_in_time(it, T0 + timedelta(days=1))}


@thoroughly
@given(histories, rules_of_sources)
def test_every_accepted_message_is_in_exactly_one_reply(history: list[Step], rules: Rules) -> None:
    memory, _ = play(history, rules)
    for conversation_id in CONVERSATIONS:
        named = [it for group in memory.named(conversation_id) for it in group]
        assert sorted(named) == sorted(it.id for it in memory.of(conversation_id, MessageKind.INBOUND))


@thoroughly
@given(histories, rules_of_sources)
def test_nothing_waits_for_ever(history: list[Step], rules: Rules) -> None:
    memory, _ = play(history, rules)
    for conversation_id, conversation in memory.conversations.items():
        assert conversation.group is None
        assert conversation.due_at is None
        assert memory.of(conversation_id, MessageKind.HELD) == []


@thoroughly
@given(histories, rules_of_sources)
def test_sending_every_event_twice_changes_nothing(history: list[Step], rules: Rules) -> None:
    once, _ = play(history, rules)
    twice, _ = play([step for pause, event in history for step in ((pause, event), (timedelta(0), event))], rules)
    assert twice == once


@thoroughly
@given(histories, rules_of_sources, st.sampled_from([1, 2, 3]))
def test_a_sweep_in_small_parts_decides_what_a_sweep_at_once_does(
    history: list[Step], rules: Rules, at_once: int
) -> None:
    in_parts, _ = play(history, rules, at_once=at_once)
    whole, _ = play(history, rules)
    assert replace(in_parts, at_once=None) == whole


@thoroughly
@given(histories, st.sampled_from([0, 1, 2]), st.sampled_from([2, 3, 6]))
def test_no_more_is_held_for_a_conversation_than_the_rules_say(history: list[Step], most: int, most_bytes: int) -> None:
    memory, now = Memory(replace(CONTRACT, hold_max_messages=most, hold_max_bytes=most_bytes)), T0
    for pause, event in history:
        now += pause
        stored = dict(memory.messages)
        if event is SWEEP:
            memory.sweep(now)
        elif memory.apply(event, now) is Verdict.TOO_MANY_HELD:
            assert memory.messages == stored, "what is rejected for now leaves no trace"
        for conversation_id in CONVERSATIONS:
            held = memory.of(conversation_id, MessageKind.HELD)
            assert len(held) <= most
            assert sum(len(it.content.encode()) for it in held) <= most_bytes


@given(st.sampled_from(CONVERSATIONS), st.sampled_from(["Oi", "Olá"]))
def test_the_id_of_a_reply_is_taken(conversation_id: ConversationId, content: str) -> None:
    reply = Message(MESSAGES[0], CONVERSATIONS[0], 2, MessageKind.OUTBOUND, "Oi", T0, T0)
    message = NewMessage(conversation_id, T0, MESSAGES[0], content)
    decision = decide(Conversation(conversation_id, Status.OPEN), message, T0, known=reply)
    assert decision.verdict is Verdict.MESSAGE_CONFLICT
    assert decision.message is None


def test_a_source_that_wants_no_replies_has_no_groups() -> None:
    silent = replace(CONTRACT, replies=False)
    memory, _ = play([(seconds(0), say(0)), (seconds(1), OPEN), (seconds(1), say(1)), (seconds(1), CLOSE)], silent)
    assert memory.replies == []
    assert [it.kind for it in memory.messages.values()] == [MessageKind.INBOUND, MessageKind.INBOUND]
    assert memory.conversations[CONVERSATIONS[0]].due_at is None
