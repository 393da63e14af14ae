"""What the store's tests share: deliveries made by hand, applied on a real Postgres, without transport or HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from nameko_sqlalchemy.database import DatabaseWrapper, Session
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import sessionmaker

from realmate.conversations.batches import Batches
from realmate.domain.events import Verdict
from realmate.domain.model import Rules
from realmate.query.reads import ConversationView, read
from realmate.runtime.settings import sqlalchemy_url
from realmate.runtime.transport.interface import Delivery
from realmate.wire.commands import (
    CloseCommand,
    Command,
    MessageCommand,
    OpenCommand,
    decode_verdicts,
    encode_commands,
)

QUICK = Rules(group_window=timedelta(milliseconds=300), hold_tolerance=timedelta(milliseconds=400))
PATIENT = Rules(group_window=timedelta(hours=1), hold_tolerance=timedelta(hours=1))

_SENT_AT = datetime(2025, 6, 4, 14, 20, 5, tzinfo=UTC)


class Store:
    """The conversations service's write side on one database, under given rules. Safe to use from many threads."""

    def __init__(self, database_url: str, rules: Rules) -> None:
        self.engine: Engine = create_engine(sqlalchemy_url(database_url), pool_size=20)
        self.rules = rules

    @property
    def db(self) -> DatabaseWrapper:
        return DatabaseWrapper(sessionmaker(bind=self.engine, class_=Session))

    def deliver(self, *deliveries: Delivery) -> list[list[Verdict] | None]:
        return [decode_verdicts(reply) for reply in Batches(self.db, self.rules).apply(deliveries)]

    def apply(self, *commands: Command) -> list[Verdict]:
        """Apply one batch, which must be decided."""
        [verdicts] = self.deliver(delivery(commands))
        assert verdicts is not None
        return verdicts

    def view(self, conversation_id: uuid.UUID) -> ConversationView | None:
        with self.engine.connect() as connection:
            return read(connection, [conversation_id]).get(conversation_id)

    def scalar(self, statement: str) -> object:
        with self.engine.connect() as connection:
            return connection.execute(text(statement)).scalar()


@contextmanager
def open_store(database_url: str, rules: Rules) -> Iterator[Store]:
    store = Store(database_url, rules)
    try:
        yield store
    finally:
        store.engine.dispose()


def delivery(commands: Sequence[Command], *, timeout_s: float = 10, redelivered: bool = False) -> Delivery:
    return Delivery(uuid.uuid4().hex, encode_commands(commands), time.monotonic() + timeout_s, redelivered)


def redelivered(first: Delivery) -> Delivery:
    return Delivery(first.id, first.payload, first.deadline, redelivered=True)


def opening(conversation_id: uuid.UUID) -> OpenCommand:
    return OpenCommand("test", conversation_id, _SENT_AT)


def closing(conversation_id: uuid.UUID) -> CloseCommand:
    return CloseCommand("test", conversation_id, _SENT_AT)


def saying(
    conversation_id: uuid.UUID, content: str = "Oi", *, message_id: uuid.UUID | None = None, second: int = 0
) -> MessageCommand:
    sent_at = _SENT_AT + timedelta(seconds=second)
    return MessageCommand("test", conversation_id, sent_at, message_id or uuid.uuid4(), content)


def inbound(view: ConversationView) -> list[uuid.UUID]:
    return [message.id for message in view.messages if message.type == "INBOUND"]


def replied(view: ConversationView) -> list[list[uuid.UUID]]:
    """The ids each reply names, in its order."""
    return [
        [uuid.UUID(line) for line in message.content.splitlines()[1:]]
        for message in view.messages
        if message.type == "OUTBOUND"
    ]


def as_json(view: ConversationView) -> dict[str, object]:
    decoded: dict[str, object] = msgspec.json.decode(msgspec.json.encode(view))
    return decoded
