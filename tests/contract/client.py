"""A small client of Realmate's API and the few words the contract tests are written in.

Every request has a connection of its own, so each read is also a read by somebody else. Every error that passes
through here is checked to be a well-formed problem, whichever test provoked it.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from threading import Barrier
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import described
from signatures import signature

T = TypeVar("T")
Conversation = dict[str, Any]

SIGNING_SOURCE = "signing"

TIMESTAMP = "2025-06-04T14:20:05Z"
MARKER = "segredo-5b1e7c"
"""In what people write and in idempotency keys: it must be in no log."""
SAID = f"Oi, {MARKER}"
REPLY_HEADER = "Mensagens recebidas:"
WINDOW_S = 5.0
PATIENCE_S = 30.0
"""How long a test waits for what must come, on however busy a machine. Punctuality is the benchmark's matter."""

_INTERNALS = re.compile(r"Traceback|\.py\b|[A-Za-z](Error|Exception)\b|<class")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any
    """Parsed where it is JSON, else text."""

    @property
    def verdict(self) -> tuple[int, str]:
        """The status code, and the word that says the same: `status` of a success, `code` of a problem."""
        return self.status, self.body["code" if self.status >= 400 else "status"]

    @property
    def wrong_fields(self) -> set[str]:
        return {error["field"] for error in self.body["errors"]}


class Client:
    def __init__(self, base_url: str, *, signs: bool = False) -> None:
        """With `signs` its events are those of SIGNING_SOURCE."""
        url = urlsplit(base_url)
        self._connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._host = url.netloc
        self._prefix = url.path.rstrip("/")
        self._signs = signs

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if method == "POST":
            headers["Idempotency-Key"] = f"{MARKER}-{uuid4()}"
        if self._signs and path.startswith("/webhook"):
            headers |= signature(body or b"")
            path = f"/webhook/{SIGNING_SOURCE}{'/' * path.endswith('/')}"
        with closing(self._connect(self._host, timeout=PATIENCE_S)) as connection:
            connection.request(method, self._prefix + path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        is_json = "json" in response.headers.get("Content-Type", "")
        answer = Answer(response.status, response.headers, json.loads(text) if is_json and text else text)
        if answer.status >= 400 and path != "/readyz":
            _check_problem(answer, text)
        described.check(method, path, answer.status, dict(answer.headers), answer.body)
        return answer

    def post(self, event: object, path: str = "/webhook/") -> Answer:
        return self.request("POST", path, json.dumps(event).encode())

    def open(self, conversation_id: str | None = None) -> Answer:
        return self.post(event("NEW_CONVERSATION", id=conversation_id or str(uuid4())))

    def opened(self) -> str:
        """The id of a conversation that was just opened."""
        answer = self.open()
        assert answer.verdict == (201, "created")
        return answer.body["conversation_id"]

    def say(
        self, conversation_id: str, content: str = SAID, *, message_id: str | None = None, timestamp: str = TIMESTAMP
    ) -> Answer:
        message = {"id": message_id or str(uuid4()), "content": content, "conversation_id": conversation_id}
        return self.post(event("NEW_MESSAGE", timestamp=timestamp, **message))

    def accepted(self, conversation_id: str, content: str = SAID, *, timestamp: str = TIMESTAMP) -> str:
        """The id of a message that the conversation just accepted."""
        answer = self.say(conversation_id, content, timestamp=timestamp)
        assert answer.verdict == (202, "accepted")
        return answer.body["message_id"]

    def held(self, conversation_id: str, content: str = SAID, *, message_id: str | None = None) -> str:
        """The id of a message that now waits for its conversation."""
        answer = self.say(conversation_id, content, message_id=message_id)
        assert answer.verdict == (202, "held")
        return answer.body["message_id"]

    def close(self, conversation_id: str) -> Answer:
        return self.post(event("CLOSE_CONVERSATION", id=conversation_id))

    def get(self, conversation_id: str) -> Answer:
        return self.request("GET", f"/conversations/{conversation_id}/")

    def read(self, conversation_id: str) -> Conversation:
        answer = self.get(conversation_id)
        assert answer.status == 200, answer
        return answer.body

    def read_until(self, conversation_id: str, condition: Callable[[Conversation], bool]) -> Conversation:
        """Read again and again until it is so; fail with the last reading when patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(conversation := self.read(conversation_id)):
            assert time.monotonic() < deadline, f"still not so after {PATIENCE_S:g} s: {conversation}"
            time.sleep(0.1)
        return conversation

    def read_answered(self, conversation_id: str) -> Conversation:
        """The conversation, as soon as each of its messages is named in a reply."""
        return self.read_until(conversation_id, lambda it: set(named(it)) == set(inbound(it)))


def event(kind: str, timestamp: str = TIMESTAMP, **data: object) -> dict[str, Any]:
    return {"type": kind, "timestamp": timestamp, "data": data}


def inbound(conversation: Conversation) -> list[str]:
    """The ids of what came in, in the order shown."""
    return [message["id"] for message in conversation["messages"] if message["type"] == "INBOUND"]


def replies(conversation: Conversation) -> list[dict[str, Any]]:
    return [message for message in conversation["messages"] if message["type"] == "OUTBOUND"]


def named(conversation: Conversation) -> list[str]:
    """The ids that all replies together name, repetitions included."""
    return [line for reply in replies(conversation) for line in reply["content"].split("\n")[1:]]


def reply_to(*message_ids: str) -> str:
    """What the reply to these messages says, to the letter."""
    return "\n".join([REPLY_HEADER, *message_ids])


def read_time(timestamp: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(timestamp).timestamp()


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same moment, a thread each; their results in the order of the calls."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def _check_problem(answer: Answer, text: str) -> None:
    """RFC 9457, with our code, and nothing of the inside."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body.keys() - {"errors"} == {"type", "title", "status", "detail", "code"}
    assert answer.body["status"] == answer.status
    assert all(isinstance(answer.body[member], str) and answer.body[member] for member in ("type", "title", "detail"))
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", answer.body["code"])
    assert not _INTERNALS.search(text), text
