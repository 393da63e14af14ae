"""What Realmate knows about a conversation: values only, no I/O, no clock.

Ids are UUIDs in their canonical text, with the number of the source that uses them. Within a conversation every message
has a sequence number (`seq`) in the order of arrival; it breaks ties between equal timestamps and bounds the groups.
Moments are timezone-aware datetimes of the database's clock, except `Message.timestamp`, which is the sender's and is
never compared with a clock.

What is made anew for every event is a named tuple: as immutable as a frozen dataclass, at a third of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

DEFAULT_SOURCE_ID = 0


class ConversationId(NamedTuple):
    """Its source's own: the same text from another source is another conversation."""

    text: str
    source_id: int = DEFAULT_SOURCE_ID


class MessageId(NamedTuple):
    """Its source's own, like a conversation's."""

    text: str
    source_id: int = DEFAULT_SOURCE_ID


class Status(IntEnum):
    """Where a conversation is in its life. The numbers are stored."""

    PENDING = 0  #: Only held messages name it (or nothing does): to the outside it does not exist.
    OPEN = 1  #: NEW_CONVERSATION came.
    CLOSED = 2  #: CLOSE_CONVERSATION came. Final: nothing about it changes any more.


class MessageKind(IntEnum):
    """What a stored message is. The numbers are stored."""

    INBOUND = 1  #: In the conversation, from the sender.
    OUTBOUND = 2  #: In the conversation, the reply to one group.
    HELD = 3  #: Waits for its conversation; invisible.
    EXPIRED = 4  #: Waited in vain; never enters the conversation, kept as a fact.


REPLY_HEADING = "Mensagens recebidas:"
"""A reply's first line; the ids that it answers follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The contract's parameters. All limits are inclusive: a gap of exactly the window still joins."""

    group_window: timedelta = timedelta(seconds=5)
    group_max_wait: timedelta | None = None
    """From a group's first message to its end, at most: somebody who never pauses is answered, too."""
    group_max_messages: int | None = None
    """With so many messages a group is answered at once."""
    hold_tolerance: timedelta = timedelta(seconds=6)
    hold_max_messages: int | None = None
    """So many messages wait for one conversation at the same time, at most."""
    hold_max_bytes: int | None = None
    """So many bytes of content wait for one conversation at the same time, at most."""
    hold_total_messages: int | None = None
    """So many messages of one source wait at the same time, at most."""
    hold_total_bytes: int | None = None
    replies: bool = True
    """False: there are no groups, and nobody is answered."""


class Group(NamedTuple):
    """The run of INBOUND messages that is not answered yet."""

    first_seq: int
    size: int
    first_arrived_at: datetime
    last_arrived_at: datetime

    def is_over(self, now: datetime, rules: Rules) -> bool:
        return is_past(self.last_arrived_at, now, rules.group_window) or (
            rules.group_max_wait is not None and is_past(self.first_arrived_at, now, rules.group_max_wait)
        )

    def ends_at(self, rules: Rules) -> datetime:
        """The last moment at which a message joins it, if none comes any more."""
        silent_at = self.last_arrived_at + rules.group_window
        return (
            silent_at if rules.group_max_wait is None else min(silent_at, self.first_arrived_at + rules.group_max_wait)
        )


class HeldMessage(NamedTuple):
    """A message that waits for its conversation."""

    id: MessageId
    seq: int
    arrived_at: datetime
    bytes: int = 0
    """The size of its content in UTF-8."""

    def is_expired(self, now: datetime, rules: Rules) -> bool:
        return is_past(self.arrived_at, now, rules.hold_tolerance)


def is_past(arrived_at: datetime, now: datetime, limit: timedelta) -> bool:
    """Whether more than `limit` lies between the two, in either direction.

    An arrival that far in the future was stored before the database's clock was set back. How long ago it really was
    nobody knows any more; what waits for it must not wait until the clock has caught up.
    """
    return abs(now - arrived_at) > limit


class Conversation(NamedTuple):
    """One conversation as far as decisions need it; messages that decide nothing any more are not here."""

    id: ConversationId
    status: Status = Status.PENDING
    created_at: datetime | None = None
    """When NEW_CONVERSATION arrived. Like `opened_timestamp` and `closed_timestamp` a fact that decides nothing: it is
    set once, and whoever loads a conversation may leave it out."""
    updated_at: datetime | None = None
    """When it last changed for whoever looks at it. It decides nothing either; None: not since it was loaded."""
    opened_timestamp: datetime | None = None
    """What NEW_CONVERSATION itself gave as its time."""
    closed_timestamp: datetime | None = None
    last_seq: int = 0
    group: Group | None = None
    due_at: datetime | None = None
    """When to look at it again, at the latest: never later than the end of its group or its first held message's wait.

    It may be too early (a group grows without moving it): the sweep then sets it anew. That spares an index update
    for every message but a group's first.
    """
    held: tuple[HeldMessage, ...] = ()
    """In order of arrival. Whoever loads a conversation may leave stored ones out unless it is opened or swept."""
    held_messages: int = 0
    """How many wait, whether they are loaded or not. The version before 0011 does not count: then it is too few."""
    held_bytes: int = 0
    """The size of the contents of those that wait."""

    @property
    def is_blank(self) -> bool:
        """Nothing is known about it: no event for it was ever let in."""
        return self.status is Status.PENDING and self.last_seq == 0


class Message(NamedTuple):
    """A message as it is stored, or is to be."""

    id: MessageId
    conversation_id: ConversationId
    seq: int
    kind: MessageKind
    content: str
    timestamp: datetime
    arrived_at: datetime


class Reply(NamedTuple):
    """The OUTBOUND message that answers the INBOUND ones from `first_seq` to `last_seq`, both included."""

    conversation_id: ConversationId
    seq: int
    first_seq: int
    last_seq: int
    window_ended_at: datetime
    """When the group's time was over: `made_at` minus this is the lateness (negative for a flush at closing)."""
    made_at: datetime
