"""Every call of a responder ends in a reply, whatever fails: on a real Postgres, with a responder that fails."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from realmate.conversations import responding
from realmate.conversations.responding import Responding
from realmate.egress.client import EgressResponse
from realmate.sources.model import DEFAULT, Source
from realmate.sources.responders import Responder
from realmate.sources.signing import StandardWebhooks
from signatures import SECRET
from store import QUICK, Store, closing, open_store, opening, saying

RETRY_FOR_S = 1.5
FALLBACK = "Um momento, por favor."


class AtOnce:
    """Runs what the background would, in the caller's thread."""

    def running(self, _key: str) -> int:
        return 0

    def run(self, _key: str, work: Callable[[], None]) -> None:
        work()


@dataclass
class Asking:
    """One conversation whose group waits for its reply."""

    store: Store
    conversation_id: str
    message_id: str
    calls: list[float] = field(default_factory=list)

    def respond(self) -> None:
        responders = self.store.rules.responders(self.store.db)
        Responding().start(self.store.db, AtOnce(), responders)  # type: ignore[arg-type]

    def reply(self) -> str:
        """The reply, once there is one; respond until then."""
        give_up_at = time.monotonic() + 20 * RETRY_FOR_S
        while not (replies := self.replies()):
            assert time.monotonic() < give_up_at, "the messages are left without a reply"
            self.respond()
            time.sleep(0.05)
        [reply] = replies
        return reply

    def replies(self) -> list[str]:
        view = self.store.view(self.conversation_id)
        assert view is not None
        return [message.content for message in view.messages if message.type == "OUTBOUND"]


@pytest.fixture
def asking(database_url: str) -> Iterator[Asking]:
    responder = Responder(
        "https://replies.example/", StandardWebhooks([SECRET]), retry_for_s=RETRY_FOR_S, fallback=FALLBACK
    )
    with open_store(database_url, QUICK, {DEFAULT: Source(DEFAULT, responder=responder)}) as store:
        conversation_id = str(uuid.uuid4())
        message = saying(conversation_id)
        store.apply(opening(conversation_id), message)
        give_up_at = time.monotonic() + 30
        while store.scalar("SELECT count(*) FROM reply_calls") == 0:
            assert time.monotonic() < give_up_at
            store.sweep()
        yield Asking(store, conversation_id, message.message_id)


def answer_with(patch: pytest.MonkeyPatch, asking: Asking, answer: Callable[[], EgressResponse]) -> None:
    def post(*_: Any, **__: Any) -> EgressResponse:
        asking.calls.append(time.monotonic())
        return answer()

    patch.setattr(responding, "post", post)


def said(content: bytes) -> Callable[[], EgressResponse]:
    return lambda: EgressResponse(200, content, 0.0)


def test_a_failure_that_nobody_foresaw_ends_in_the_fallback(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> EgressResponse:
        raise AssertionError("a fault of ours, or of a library")

    answer_with(monkeypatch, asking, fail)
    assert asking.reply() == FALLBACK
    assert asking.calls


@pytest.mark.parametrize(
    "content",
    [b'{"content":"Ol\xe1"}', b'{"content":"\\ud800"}', b"\xff\xfe{\x00", b'{"content":' + b"[" * 100_000, b"\x1f\x8b"],
)
def test_an_answer_that_is_no_reply_brings_the_fallback(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    answer_with(monkeypatch, asking, said(content))
    assert asking.reply() == FALLBACK


def test_a_byte_order_mark_is_no_part_of_the_answer(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, asking, said(b'\xef\xbb\xbf{"content":"Oi"}'))
    assert asking.reply() == "Oi"


@pytest.mark.parametrize(("rejected", "stored"), [(("Oi",), FALLBACK), (("Oi", FALLBACK), "the ids")])
def test_what_the_database_cannot_store_is_replaced(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, rejected: tuple[str, ...], stored: str
) -> None:
    for number, content in enumerate(rejected):
        asking.store.execute(f"ALTER TABLE messages ADD CONSTRAINT c{number} CHECK (content <> '{content}') NOT VALID")
    answer_with(monkeypatch, asking, said(b'{"content":"Oi"}'))
    assert asking.reply() == (FALLBACK if stored == FALLBACK else f"Mensagens recebidas:\n{asking.message_id}")


def test_a_call_that_its_callers_died_of_is_not_made_for_ever(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, asking, said(b'{"content":"Oi"}'))
    asking.store.execute("UPDATE reply_calls SET attempts = 3, made_at = made_at - interval '1 hour', due_at = now()")
    assert asking.reply() == FALLBACK
    assert asking.calls == []


def test_without_private_networks_no_source_can_have_one(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = []

    def post(*_: Any, allow_private: bool, **__: Any) -> EgressResponse:
        allowed.append(allow_private)
        return EgressResponse(200, b'{"content":"Oi"}', 0.0)

    monkeypatch.setattr(responding, "post", post)
    responder = Responder("http://10.0.0.1/", StandardWebhooks([SECRET]), allow_private=True)
    responders = {0: (DEFAULT, responder)}
    Responding().start(asking.store.db, AtOnce(), responders, allow_private=False)  # type: ignore[arg-type]
    assert allowed == [False]


def test_a_reply_after_the_close_counts_for_retention(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, asking, said(b'{"content":"Oi"}'))
    asking.store.apply(closing(asking.conversation_id))
    closed_at = asking.store.scalar("SELECT settled_at FROM conversations")
    assert asking.reply() == "Oi"
    assert asking.store.scalar("SELECT settled_at - updated_at FROM conversations") == timedelta(0)
    assert asking.store.scalar("SELECT settled_at FROM conversations") != closed_at
