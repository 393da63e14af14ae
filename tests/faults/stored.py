"""What Postgres holds in the end, read straight from its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

import psycopg2
import psycopg2.extras

from realmate.domain.model import MessageKind, Status

OVERDUE_AFTER_S = 0.5
"""Beyond this, what is due and not done is backlog."""

_OVERDUE = """
    SELECT count(*) FROM conversations
    WHERE due_at < clock_timestamp() - make_interval(secs => %(late_s)s)
        OR due_at > clock_timestamp() + make_interval(secs => %(longest_s)s)
"""


@dataclass(frozen=True)
class StoredConversation:
    id: str
    status: Status
    created_at: datetime | None
    updated_at: datetime | None
    due_at: datetime | None = None


@dataclass(frozen=True)
class StoredMessage:
    id: str
    conversation: str
    seq: int
    kind: MessageKind
    content: str
    timestamp: datetime
    arrived_at: datetime

    @property
    def named(self) -> tuple[str, ...]:
        """The ids that a reply names."""
        return tuple(self.content.split("\n")[1:])


@dataclass
class Stored:
    conversations: Mapping[str, StoredConversation] = field(default_factory=dict)
    messages: Mapping[str, StoredMessage] = field(default_factory=dict)


def read_all(url: str, *, but_of: Sequence[str] = ()) -> Stored:
    """All but what belongs to these sources."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM sources WHERE name = ANY(%s)", [list(but_of)])
        others = [[source_id for (source_id,) in cursor]]
        cursor.execute(
            "SELECT id::text, status, created_at, updated_at, due_at FROM conversations WHERE source_id <> ALL(%s)",
            others,
        )
        conversations = {row[0]: StoredConversation(row[0], Status(row[1]), *row[2:]) for row in cursor}
        cursor.execute(
            'SELECT id::text, conversation_id::text, seq, kind, content, "timestamp", arrived_at FROM messages'
            " WHERE source_id <> ALL(%s)",
            others,
        )
        messages = {
            id_: StoredMessage(id_, conversation, seq, MessageKind(kind), *rest)
            for id_, conversation, seq, kind, *rest in cursor
        }
    return Stored(conversations, messages)


def overdue(url: str, *, longest_s: float) -> int | None:
    """How many conversations should have been settled, or wait longer than any can; None: Postgres does not say."""
    try:
        connection = psycopg2.connect(url, connect_timeout=2, options="-c statement_timeout=2000")
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(_OVERDUE, {"late_s": OVERDUE_AFTER_S, "longest_s": longest_s})
            ((count,),) = cursor.fetchall()
            return int(count)
    except psycopg2.OperationalError:
        return None
