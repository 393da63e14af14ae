"""What readers see: conversations with their messages, many in one statement, and so in one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from realmate.domain.model import Kind, Status
from realmate.runtime.transaction import Statement, Transactions, uuid_array

# Whose a conversation may be is a part of the search: one of another source is neither found nor read, so nobody learns
# from the answer's time that it exists. Where several fit, their messages stay unread: the answer is a question.
# A conversation's own columns come with each of its messages, so its moments as text: read once, where they change.
_CONVERSATIONS = Statement(
    "conversations_with_messages",
    ("integer[]", "uuid[]", "integer[]", "uuid[]", "text[]"),
    """
    WITH found AS (
        SELECT number, conversation.id, source.name, source_id, status, created_at, updated_at
        FROM unnest($1, $2) AS asked (number, id)
        JOIN conversations AS conversation ON conversation.id = asked.id AND status > 0
        JOIN sources AS source ON source.id = source_id
        UNION ALL
        SELECT number, conversation.id, source.name, source_id, status, created_at, updated_at
        FROM unnest($3, $4, $5) AS asked (number, id, source)
        JOIN sources AS source ON source.name = asked.source
        JOIN conversations AS conversation
            ON conversation.id = asked.id AND conversation.source_id = source.id AND status > 0
    ),
    counted AS (SELECT *, count(*) OVER (PARTITION BY number) AS fitting FROM found)
    SELECT number, CAST(counted.id AS text), name, status, CAST(created_at AS text), CAST(updated_at AS text),
        CAST(message.id AS text), kind, content, "timestamp"
    FROM counted LEFT JOIN messages AS message
        ON conversation_id = CASE fitting WHEN 1 THEN counted.id END AND message.source_id = counted.source_id
            AND kind <= 2
    ORDER BY number, name, "timestamp", seq
    """,
)
_TYPES = {int(kind): kind.name for kind in Kind}


class MessageView(msgspec.Struct):
    id: str
    type: str
    content: str
    timestamp: datetime


class ConversationView(msgspec.Struct):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    messages: list[MessageView]


class Ambiguous(NamedTuple):
    """Several sources have a conversation of this id."""

    sources: tuple[str, ...]
    """Of those that were asked for."""


class Wanted(NamedTuple):
    """What a reader asks for."""

    id: str
    sources: frozenset[str] | None = None
    """Whose it may be; None: anybody's."""


def read(db: Transactions, wanted: Collection[Wanted]) -> dict[Wanted, ConversationView | Ambiguous]:
    """What was found for each reader; what does not exist for him is missing. Nobody's answer is made of another's."""
    asked = list(wanted)
    views: dict[Wanted, ConversationView | Ambiguous] = {}
    for number, rows in groupby(db.fetch(_CONVERSATIONS, *_parameters(asked)), key=itemgetter(0)):
        views[asked[number]] = _view(list(rows))
    return views


def _parameters(asked: Sequence[Wanted]) -> tuple[object, ...]:
    """Their places and ids: first of those that may be anybody's, then of the others, once for each source."""
    anybody_s = [(number, each.id) for number, each in enumerate(asked) if each.sources is None]
    somebody_s = [(number, each.id, source) for number, each in enumerate(asked) for source in each.sources or ()]
    return (
        [number for number, _ in anybody_s],
        uuid_array(key for _, key in anybody_s),
        [number for number, *_ in somebody_s],
        uuid_array(key for _, key, _ in somebody_s),
        [source for *_, source in somebody_s],
    )


def _view(rows: Sequence[tuple[Any, ...]]) -> ConversationView | Ambiguous:
    _, key, source, status, created_at, updated_at, *_ = rows[0]
    if rows[-1][2] != source:  # in the order of the names
        return Ambiguous(tuple(row[2] for row in rows))
    messages = [
        MessageView(message_id, _TYPES[kind], content, timestamp)
        for *_, message_id, kind, content, timestamp in rows
        if message_id is not None
    ]
    opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
    return ConversationView(key, Status(status).name, opened, changed, messages)
