"""The reader's view: conversations with their messages. One statement reads many, and so sees one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec

from realmate.domain.model import MessageKind, Status
from realmate.feed.contents import MESSAGE_BYTES
from realmate.query.entity_tags import tag
from realmate.runtime.transaction import Statement, Transactions, uuid_array
from realmate.wire.webhook import MAX_CONTENT_CHARS

MAX_CONTENT_BYTES = 4 * MAX_CONTENT_CHARS
MOST_MESSAGES = 1_000
"""The most messages that `?messages=` may ask for: the last ones."""
PORTION_MESSAGES = 32
"""The messages in one portion of a conversation that is read alone: 8 MB in memory with the largest contents."""

OPENED = f"status > {Status.PENDING:d}"
"""Held messages alone make no conversation that a reader can see."""
VISIBLE_KINDS = (MessageKind.INBOUND, MessageKind.OUTBOUND)
VISIBLE = f"kind <= {MessageKind.OUTBOUND:d}"
"""Readers see INBOUND and OUTBOUND messages."""

# The contents of one answer are read up to $6 bytes in all. A conversation beyond that is told as Unread.
# Whose a conversation may be is a part of the search: one of another source is neither found nor read, so nobody learns
# from the answer's time that it exists. Where several fit, their messages stay unread: the answer is a question.
# A conversation's own columns come with each of its messages, so its moments as text: read once, where they change.
_FOUND = f"""
    SELECT number, conversation.id, source.name, source_id, status, created_at, updated_at, last_seq
    FROM unnest($1, $2) AS asked (number, id)
    JOIN conversations AS conversation ON conversation.id = asked.id AND {OPENED}
    JOIN sources AS source ON source.id = source_id
    UNION ALL
    SELECT number, conversation.id, source.name, source_id, status, created_at, updated_at, last_seq
    FROM unnest($3, $4, $5) AS asked (number, id, source)
    JOIN sources AS source ON source.name = asked.source
    JOIN conversations AS conversation
        ON conversation.id = asked.id AND conversation.source_id = source.id AND {OPENED}
"""
_ASKED = ("integer[]", "uuid[]", "integer[]", "uuid[]", "text[]")
_OWN = "CAST({0}.id AS text), name, status, CAST(created_at AS text), CAST(updated_at AS text), last_seq"
_OF_COUNTED = f"""
    conversation_id = CASE fitting WHEN 1 THEN counted.id END AND messages.source_id = counted.source_id AND {VISIBLE}
"""


def _with_messages(messages: str) -> str:
    """Return SQL for conversations, joined with `messages`."""
    total = f"sum(octet_length(content) + {MESSAGE_BYTES}) OVER until_here"
    return f"""
        WITH found AS ({_FOUND}),
        counted AS (SELECT *, count(*) OVER (PARTITION BY number) AS fitting FROM found)
        SELECT number, {_OWN.format("counted")},
            CAST(messages.id AS text), kind, CASE WHEN {total} <= $6 THEN content END, "timestamp", {total}
        FROM counted LEFT JOIN {messages}
        WINDOW until_here AS (ORDER BY number, name, "timestamp", seq)
        ORDER BY number, name, "timestamp", seq
    """


_CONVERSATIONS = Statement(
    "conversations_with_messages", (*_ASKED, "bigint"), _with_messages(f"messages ON {_OF_COUNTED}")
)
# The last messages of each: so many as $7 says, by the conversation's number.
_WITH_LAST_MESSAGES = Statement(
    "conversations_with_last_messages",
    (*_ASKED, "bigint", "integer[]"),
    _with_messages(
        f"""
        LATERAL (
            SELECT * FROM messages WHERE {_OF_COUNTED} ORDER BY "timestamp" DESC, seq DESC LIMIT ($7)[number + 1]
        ) AS messages ON true
        """
    ),
)
_ROWS_ALONE = Statement(
    "conversations_without_messages", _ASKED, f"SELECT number, {_OWN.format('found')} FROM ({_FOUND}) AS found"
)
_ALONE = Statement(
    "conversation_alone",
    ("uuid", "text", "integer"),
    f"""
    SELECT source_id, status, CAST(created_at AS text), CAST(updated_at AS text), last_seq, before.*
    FROM conversations AS conversation JOIN sources AS source ON source.id = source_id
    LEFT JOIN LATERAL (
        SELECT "timestamp", seq FROM messages
        WHERE conversation_id = $1 AND messages.source_id = conversation.source_id AND {VISIBLE} AND $3 IS NOT NULL
        ORDER BY "timestamp" DESC, seq DESC OFFSET $3 LIMIT 1
    ) AS before ON true
    WHERE conversation.id = $1 AND source.name = $2 AND {OPENED}
    """,
)
# All portions are of the messages that there were when the first was read: what comes later has a higher seq.
_PORTION = Statement(
    "conversation_portion",
    ("uuid", "integer", "integer", "timestamptz", "integer", "integer"),
    f"""
    SELECT CAST(id AS text), kind, content, "timestamp", seq FROM messages
    WHERE conversation_id = $1 AND source_id = $2 AND seq <= $3 AND {VISIBLE} AND ("timestamp", seq) > ($4, $5)
    ORDER BY "timestamp", seq LIMIT $6
    """,
)
_TYPES = {int(kind): kind.name for kind in MessageKind}


MessageType = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [kind.name for kind in VISIBLE_KINDS]})]
ConversationStatus = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [Status.OPEN.name, Status.CLOSED.name]})]


class MessageView(msgspec.Struct):
    id: str
    type: MessageType
    content: str
    timestamp: datetime


class ConversationView(msgspec.Struct):
    id: str
    status: ConversationStatus
    created_at: datetime
    updated_at: datetime
    messages: list[MessageView]


class Ambiguous(NamedTuple):
    """Several sources have a conversation of this id."""

    sources: tuple[str, ...]
    """The sources that were asked for and have the conversation."""


class Unread(NamedTuple):
    """It is there, and there was no room for all of its messages."""

    source: str
    bytes: int
    """The rough size of its messages in a response."""


class Wanted(NamedTuple):
    """The conversation that a reader asks for."""

    id: str
    sources: frozenset[str] | None = None
    """The sources it may belong to; None: any source."""
    messages: int | None = None
    """How many of its last messages; None: all."""


class Tagged(NamedTuple):
    """A conversation with its entity tag, which changes whenever the view does."""

    view: ConversationView
    tag: str


Found = Tagged | Ambiguous | Unread


def read(db: Transactions, wanted: Collection[Wanted], limit_bytes: int = 2**40) -> dict[Wanted, Found]:
    """Return what was found for each reader. What does not exist for a reader is missing.

    No response is made of another's.

    Messages of `limit_bytes` are read in all. Conversations for which that is not enough are Unread. Either all or none
    of `wanted` say how many messages.
    """
    asked = list(wanted)
    views: dict[Wanted, Found] = {}
    if asked[0].messages is None:
        found = db.fetch(_CONVERSATIONS, *_parameters(asked), limit_bytes)
    else:
        found = db.fetch(_WITH_LAST_MESSAGES, *_parameters(asked), limit_bytes, [each.messages for each in asked])
    for number, rows in groupby(found, key=itemgetter(0)):
        views[asked[number]] = _view(asked[number], list(rows))
    return views


def tags(db: Transactions, wanted: Collection[Wanted]) -> dict[Wanted, str]:
    """Return the entity tags of what was found for each reader, without reading any message."""
    asked = list(wanted)
    rows = sorted(db.fetch(_ROWS_ALONE, *_parameters(asked)), key=itemgetter(0))
    found = [list(each) for _, each in groupby(rows, key=itemgetter(0))]
    return {asked[row[0]]: _tag(asked[row[0]], row) for row, *others in found if not others}


def _parameters(asked: Sequence[Wanted]) -> tuple[object, ...]:
    """Return the statement's parameters: first the ids that may belong to any source, then the others, once for each
    source."""
    anybody_s = [(number, each.id) for number, each in enumerate(asked) if each.sources is None]
    somebody_s = [(number, each.id, source) for number, each in enumerate(asked) for source in each.sources or ()]
    return (
        [number for number, _ in anybody_s],
        uuid_array(key for _, key in anybody_s),
        [number for number, *_ in somebody_s],
        uuid_array(key for _, key, _ in somebody_s),
        [source for *_, source in somebody_s],
    )


def read_in_portions(db: Transactions, wanted: Wanted, source: str) -> Iterator[Tagged]:
    """A large conversation: the same view again and again, each time with the next of its messages."""
    key = wanted.id
    for source_id, status, created_at, updated_at, last_seq, *before in db.fetch(_ALONE, key, source, wanted.messages):
        opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
        current = _tag(wanted, (0, key, source, status, created_at, updated_at, last_seq))
        after: Sequence[object] = ("-infinity", 0) if before[1] is None else before
        while True:
            rows = db.fetch(_PORTION, key, source_id, last_seq, *after, PORTION_MESSAGES)
            messages = [MessageView(id_, _TYPES[kind], content, timestamp) for id_, kind, content, timestamp, _ in rows]
            yield Tagged(ConversationView(key, Status(status).name, opened, changed, messages), current)
            if len(rows) < PORTION_MESSAGES:
                return
            after = rows[-1][3:]


def _tag(wanted: Wanted, row: Sequence[Any]) -> str:
    """Return the entity tag of a conversation, from its own row: what changes the view changes that, too."""
    return tag("\n".join(map(str, (*row[1:7], wanted.messages))).encode())


def _view(wanted: Wanted, rows: Sequence[tuple[Any, ...]]) -> Found:
    _, key, source, status, created_at, updated_at, *_ = rows[0]
    if rows[-1][2] != source:  # in the order of the names
        return Ambiguous(tuple(row[2] for row in rows))
    if any(row[9] is None and row[7] is not None for row in rows):
        return Unread(source, rows[-1][-1] - rows[0][-1] + MAX_CONTENT_BYTES)
    messages = [
        MessageView(message_id, _TYPES[kind], content, timestamp)
        for *_, message_id, kind, content, timestamp, _total in rows
        if message_id is not None
    ]
    opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
    return Tagged(ConversationView(key, Status(status).name, opened, changed, messages), _tag(wanted, rows[0]))
