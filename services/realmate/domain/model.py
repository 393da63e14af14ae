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
    """An id belongs to its source: the same text from another source is another conversation."""

    text: str
    source_id: int = DEFAULT_SOURCE_ID


class MessageId(NamedTuple):
    """An id belongs to its source, like a conversation's."""

    text: str
    source_id: int = DEFAULT_SOURCE_ID


class Status(IntEnum):
    """The state of a conversation. The numbers are stored."""

    PENDING = 0  #: Only held messages name it (or nothing does): to the outside it does not exist.
    OPEN = 1  #: NEW_CONVERSATION came.
    CLOSED = 2  #: CLOSE_CONVERSATION came. Final: nothing about it changes any more.


class MessageKind(IntEnum):
    """The kind of a stored message. The numbers are stored."""

    INBOUND = 1  #: In the conversation, from the sender.
    OUTBOUND = 2  #: In the conversation, the reply to one group.
    HELD = 3  #: Waits for its conversation; invisible.
    EXPIRED = 4  #: Waited in vain; never enters the conversation, kept as a fact.


REPLY_HEADING = "Mensagens recebidas:"
"""The first line of a reply. The ids of the messages that it answers follow, a line each, in `REPLY_ORDER`."""
REPLY_ORDER = ("timestamp", "seq")
ACTIVE_LAG_S = 60
"""The most by which a conversation's `active_at`, which lists are ordered by, lags its `updated_at`."""
"""The fields by which a reply orders the messages that it answers; readers see messages in the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The contract's parameters. All limits are inclusive: a gap of exactly the window still joins."""

    group_window: timedelta = timedelta(seconds=5)
    group_max_wait: timedelta | None = None
    """The longest time from a group's first message to its end. Somebody who never pauses gets a reply, too."""
    group_max_messages: int | None = None
    """The number of messages with which a group is answered at once."""
    hold_tolerance: timedelta = timedelta(seconds=6)
    hold_max_messages: int | None = None
    """The most messages that may wait for one conversation at the same time."""
    hold_max_bytes: int | None = None
    """The most bytes of content that may wait for one conversation at the same time."""
    hold_total_messages: int | None = None
    """The most messages of one source that may wait at the same time."""
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
    """Whether more than `limit` lies between the two moments, in either direction.

    An arrival that far in the future was stored before the database's clock was set back. How long ago it really was
    nobody knows any more; what waits for it must not wait until the clock has caught up.
    """
    return abs(now - arrived_at) > limit


class Conversation(NamedTuple):
    """One conversation, as far as decisions need it. Messages that no decision needs are not here."""

    id: ConversationId
    status: Status = Status.PENDING
    created_at: datetime | None = None
    """The moment when NEW_CONVERSATION arrived.

    Like `opened_timestamp` and `closed_timestamp` it decides nothing and is set once. Whoever loads a conversation may
    leave it out.
    """
    updated_at: datetime | None = None
    """The moment of the last change that a reader can see. It decides nothing.

    None: nothing has changed since it was loaded.
    """
    opened_timestamp: datetime | None = None
    """The timestamp that NEW_CONVERSATION itself carried."""
    closed_timestamp: datetime | None = None
    last_seq: int = 0
    group: Group | None = None
    due_at: datetime | None = None
    """The latest moment at which the conversation must be looked at again: the end of its group, or of its first held
    message's wait.

    It may be too early (a group grows without moving it): the sweep then sets it anew. That spares an index update
    for every message but a group's first.
    """
    held: tuple[HeldMessage, ...] = ()
    """The held messages in the order of their arrival. Only opening and sweeping a conversation load them."""
    held_messages: int = 0
    """How many messages wait, loaded or not. A version before 0011 does not count, so the number may be too small."""
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
    """The moment when the group's window ended.

    `made_at` minus this is the lateness; it is negative where closing ended the group.
    """
    made_at: datetime
