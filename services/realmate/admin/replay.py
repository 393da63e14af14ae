"""Sends again what was rejected or expired: `realmate replay`.

Safe to interrupt and to run again, at the same time even. What was sent is marked when its answer is there; what was
sent and not marked carries the same idempotency key, and the same message id, the next time.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from enum import StrEnum
from typing import Any

import msgspec

from realmate.admin.client import Server
from realmate.admin.rejections import Rejection
from realmate.sources.file import Sources
from realmate.sources.model import Source
from realmate.wire.commands import MessageCommand
from realmate.wire.webhook import encode_event, parse_event


class ReplayAction(StrEnum):
    """What a replay does with one rejection. The text is shown to a person; `/admin/` has the name in lower case."""

    AS_IT_IS = "sent as they are"
    WITH_NEW_ID = "sent with a new message id, as theirs is taken"
    NOT_SENT = "not sent: the answer could only be the same"


_ACTIONS = {
    "too_many_events": ReplayAction.AS_IT_IS,
    "conversation_not_found": ReplayAction.AS_IT_IS,
    "failed": ReplayAction.AS_IT_IS,
    "idempotency_mismatch": ReplayAction.AS_IT_IS,
    "invalid_idempotency_key": ReplayAction.AS_IT_IS,
    "expired": ReplayAction.WITH_NEW_ID,
    "hold_expired": ReplayAction.WITH_NEW_ID,
    "message_conflict": ReplayAction.WITH_NEW_ID,
}


def action_for(code: str) -> ReplayAction:
    return _ACTIONS.get(code, ReplayAction.NOT_SENT)


class Replay:
    """A run sends at most `rate` events a second."""

    def __init__(self, server: Server, sources: Sources, *, rate: float) -> None:
        self._server = server
        self._sources = sources
        self._rate = rate
        self._due_at = time.monotonic()
        self.answers: Counter[str] = Counter()
        """How many events got which response, as in `202 accepted`."""

    def send(self, rejection: Rejection) -> tuple[int, str | None]:
        """The answer's status, and a problem's code. Raises SendError where nobody answers."""
        self._wait()
        body = (
            _with_new_id(rejection.body) if action_for(rejection.code) is ReplayAction.WITH_NEW_ID else rejection.body
        )
        source = self._sources.get(rejection.source) or Source(rejection.source)
        answer = self._server.post(body, source=source, key=f"replay-{rejection.id}")
        said = _said(answer)
        code = said.get("code")
        self.answers[f"{answer.status_code} {said.get('status') if code is None else code}"] += 1
        return answer.status_code, code

    def _wait(self) -> None:
        time.sleep(max(0.0, self._due_at - time.monotonic()))
        self._due_at = max(self._due_at, time.monotonic() - 1) + 1 / self._rate


def _with_new_id(body: bytes) -> bytes:
    """Return the same message under an id that depends on the message alone: a second replay makes a duplicate."""
    message = parse_event(body, request_id="")
    if not isinstance(message, MessageCommand):
        return body
    new = uuid.uuid5(uuid.UUID(message.message_id), f"{message.conversation_id} {message.content}")
    return encode_event(msgspec.structs.replace(message, message_id=str(new)))


def _said(answer: Any) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
