"""What the store's tests share: deliveries made by hand, applied on a real Postgres, without transport or HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import Engine, text

from realmate.conversations.batches import BatchApplier
from realmate.conversations.holding import Holding
from realmate.conversations.rules import RuleBooks
from realmate.conversations.source_ids import SourceIds
from realmate.conversations.sweep import Sweeper
from realmate.domain.events import Verdict
from realmate.domain.model import Rules
from realmate.query.reads import Ambiguous, ConversationView, Unread, Wanted, read
from realmate.runtime.postgres import open_engine
from realmate.runtime.transaction import Transactions
from realmate.sources.file import UNCONFIGURED, Sources
from realmate.sources.model import DEFAULT
from realmate.transport.interface import Delivery
from realmate.wire.commands import (
    CloseCommand,
    Command,
    MessageCommand,
    OpenCommand,
    Origin,
    decode_verdicts,
    encode_commands,
)

QUICK = Rules(group_window=timedelta(milliseconds=300), hold_tolerance=timedelta(milliseconds=400))
PATIENT = Rules(group_window=timedelta(hours=1), hold_tolerance=timedelta(hours=1))

PATIENCE_S = 60.0

SENT_AT = datetime(2025, 6, 4, 14, 20, 5, tzinfo=UTC)


AGED = (
    "UPDATE conversations SET settled_at = settled_at - interval '{days} days',"
    " updated_at = updated_at - interval '{days} days'"
)
"""This statement makes every conversation so many days older for retention."""


class Store:
    """The conversations service's write side on one database, under given rules. Safe to use from many threads."""

    def __init__(self, database_url: str, rules: Rules, sources: Sources = UNCONFIGURED) -> None:
        self.engine: Engine = open_engine(database_url, "realmate-test", pool_size=20, isolation_level="AUTOCOMMIT")
        self.rules = RuleBooks(rules, SourceIds(), sources)
        self.holding = Holding()

    @property
    def db(self) -> Transactions:
        return Transactions(self.engine)

    def deliver(self, *deliveries: Delivery) -> list[list[Verdict] | None]:
        return [
            decode_verdicts(reply)
            for reply in BatchApplier(self.db, self.rules, SourceIds(), self.holding).apply(deliveries)
        ]

    def apply(self, *commands: Command) -> list[Verdict]:
        """Apply one batch, which must be decided."""
        [verdicts] = self.deliver(delivery(commands))
        assert verdicts is not None
        return verdicts

    def view(self, conversation_id: str, source: str | None = None) -> ConversationView | None:
        wanted = Wanted(conversation_id, None if source is None else frozenset({source}))
        found = read(self.db, [wanted]).get(wanted)
        assert not isinstance(found, Ambiguous | Unread)
        return found and found.view

    def sweep(self, sweeper: Sweeper | None = None) -> None:
        """Until nothing is due any more."""
        sweeper = sweeper or Sweeper()
        sweeper.sweep(self.db, self.rules)
        give_up_at = time.monotonic() + PATIENCE_S
        while self.scalar("SELECT count(*) FROM conversations WHERE due_at < now()"):
            assert time.monotonic() < give_up_at, "something stays due for ever"
            sweeper.sweep(self.db, self.rules)

    def execute(self, statement: str, **values: object) -> None:
        with self.engine.connect() as connection:
            connection.execute(text(statement), values)

    def scalar(self, statement: str) -> object:
        with self.engine.connect() as connection:
            return connection.execute(text(statement)).scalar()


@contextmanager
def open_store(database_url: str, rules: Rules, sources: Sources = UNCONFIGURED) -> Iterator[Store]:
    store = Store(database_url, rules, sources)
    try:
        yield store
    finally:
        store.engine.dispose()


def delivery(commands: Sequence[Command], *, timeout_s: float = 10, redelivered: bool = False) -> Delivery:
    return Delivery(uuid.uuid4().hex, encode_commands(commands), time.monotonic() + timeout_s, redelivered)


def redelivered(first: Delivery) -> Delivery:
    return Delivery(first.id, first.payload, first.deadline, redelivered=True)


def opening(conversation_id: str, source: str = DEFAULT) -> OpenCommand:
    return OpenCommand("test", conversation_id, SENT_AT, Origin(source))


def closing(conversation_id: str, source: str = DEFAULT) -> CloseCommand:
    return CloseCommand("test", conversation_id, SENT_AT, Origin(source))


def saying(
    conversation_id: str,
    content: str = "Oi",
    *,
    message_id: str | None = None,
    second: int = 0,
    source: str = DEFAULT,
) -> MessageCommand:
    sent_at = SENT_AT + timedelta(seconds=second)
    return MessageCommand("test", conversation_id, sent_at, message_id or str(uuid.uuid4()), content, Origin(source))


def inbound(view: ConversationView) -> list[str]:
    return [message.id for message in view.messages if message.type == "INBOUND"]


def replied(view: ConversationView) -> list[list[str]]:
    """The ids each reply names, in its order."""
    return [message.content.splitlines()[1:] for message in view.messages if message.type == "OUTBOUND"]


def as_json(view: ConversationView) -> dict[str, object]:
    decoded: dict[str, object] = msgspec.json.decode(msgspec.json.encode(view))
    return decoded
