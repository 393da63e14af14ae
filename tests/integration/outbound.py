"""The deliveries service's work, step by step and in this process, on a real Postgres and to real receivers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from realmate.conversations.sequencer import Sequencer, number
from realmate.deliveries import following
from realmate.deliveries.registry import Registry
from realmate.deliveries.sending import Sender
from realmate.sources.endpoints import Endpoint
from realmate.sources.signing import StandardWebhooks
from receivers import Receiver
from signatures import SECRET
from store import PATIENT, Store, closing, open_store, opening, saying

STEPS_AT_MOST = 2_000


class Inline:
    """Stands for `Background`: the work is done at once, in the caller's place."""

    def running(self, _key: str) -> int:
        return 0

    def run(self, _key: str, work: Callable[[], None]) -> None:
        work()


@dataclass
class Outbound:
    """One deliveries process, or what there is of it without eventlet."""

    store: Store
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    registry: Registry = field(default_factory=Registry)
    background: Any = field(default_factory=Inline)

    def __post_init__(self) -> None:
        self.sender = Sender(self.registry)

    def name(self, endpoint: Endpoint) -> Endpoint:
        """Put an endpoint into the file, or another one in its place, and let the process read that."""
        self.endpoints[endpoint.name] = endpoint
        self.look()
        return endpoint

    def look(self) -> None:
        self.registry.look(self.store.db, self.endpoints)

    def follow(self) -> None:
        """Turn all that has happened into deliveries."""
        number(self.store.db)
        while following.follow_all(self.store.db, self.registry, self.endpoints):
            pass

    def send(self) -> None:
        """Send, and settle, until nothing is due any more."""
        for _ in range(STEPS_AT_MOST):
            self.sender._claim_at = 0.0  # noqa: SLF001 (no pause between two looks)
            if not self.sender.step(self.store.db, self.background, self.endpoints):
                return
        raise AssertionError("there is no end to what is due")

    def deliver(self) -> None:
        self.follow()
        self.send()

    def hurry(self) -> None:
        """Let every pause and every lease be over."""
        self.store.execute("UPDATE delivery_lanes SET due_at = now() - interval '1 s' WHERE state < 2")
        self.store.execute("UPDATE endpoints SET held_until = NULL")

    def scalar(self, statement: str) -> Any:
        return self.store.scalar(statement)

    def row(self, column: str, name: str = "crm") -> Any:
        where = f"name = '{name}' AND ended_at IS NULL"
        return self.scalar(f"SELECT {column} FROM endpoints WHERE {where}")  # noqa: S608 (the test's own words)

    def attempts(self, key: str) -> int:
        """Return how many attempts are kept that were about this conversation."""
        statement = f"SELECT count(*) FROM delivery_attempts WHERE conversation_id = '{key}'"  # noqa: S608 (its id)
        found: int = self.scalar(statement)
        return found

    def opened(self, *messages: str) -> str:
        """Open a conversation, with these messages in it."""
        key = str(uuid.uuid4())
        self.store.apply(opening(key), *(saying(key, message) for message in messages))
        return key

    def close(self, key: str) -> None:
        self.store.apply(closing(key))

    @property
    def is_empty(self) -> bool:
        return self.scalar("SELECT count(*) FROM deliveries") == 0 == self.scalar("SELECT count(*) FROM delivery_lanes")


def endpoint(receiver: Receiver, name: str = "crm", **settings: Any) -> Endpoint:
    signer = StandardWebhooks(settings.pop("secrets", [SECRET]))
    given: dict[str, Any] = {
        "url": receiver.url,
        "schedule_s": (0.0, 0.0, 0.0),
        "timeout_s": 5.0,
        "allow_private": True,
    } | settings
    return Endpoint(name, given.pop("url"), signer, **given)


@contextmanager
def outbound(database_url: str) -> Iterator[Outbound]:
    with open_store(database_url, PATIENT) as store:
        Sequencer().look(store.db)  # begins the feed
        yield Outbound(store)
