"""Asks a source's own responder for its replies, over HTTP, outside of every transaction.

The end of a group writes a call, in its own transaction. Whoever claims the call has a lease on it; its answer deletes
the call and writes the reply in one transaction. So a process may die anywhere between: the call is made again, under
the same webhook-id, and there is one reply. A slow responder keeps its own source waiting and nobody else.

Every call ends in a reply: whatever fails, foreseen or not, a call that is older than the responder's `retry_for_s`
gets the fallback, and where even that cannot be stored, the messages' ids.
"""

from __future__ import annotations

import time
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, NamedTuple

import msgspec
import structlog

from realmate.conversations import metrics, reply_statements
from realmate.domain.model import REPLY_HEADING
from realmate.egress.circuit_breaker import CircuitBreaker
from realmate.egress.client import RequestFailed, post
from realmate.runtime.background import Background
from realmate.runtime.backoff import Backoff
from realmate.runtime.database import is_outage
from realmate.runtime.transaction import StatementFailed, Transactions
from realmate.sources.responders import Responder
from realmate.wire.webhook import MAX_CONTENT_CHARS

LEASE_BEYOND_TIMEOUT_S = 5.0
BACKOFF = Backoff(0.5, 15.0)
GIVEN_UP_AT_ONCE = 100
MAX_GROUP_BYTES = 262_144
"""The most bytes of a group that a responder is sent.

The newest messages come first: one of the largest size fits, or hundreds of the usual size.
"""
GIVING_UP_S = 0.5

_PASSING = {408, 425, 429}
"""The client errors that another try may not meet."""

log = structlog.get_logger(__name__)


class ReplyRequest(NamedTuple):
    """A reply that a responder is asked for; this process has the lease on it."""

    conversation_id: str
    source_id: int
    seq: int
    first_seq: int
    last_seq: int
    made_at: datetime
    attempts: int
    age_s: float

    @property
    def key(self) -> tuple[str, int, int]:
        return self[:3]

    @property
    def webhook_id(self) -> str:
        return f"reply_{self.conversation_id}_{self.seq}"


class _Outcome(NamedTuple):
    """The outcome of one request to a responder."""

    content: str | None = None
    failure: str = ""
    passing: bool = False
    """Whether another try may succeed."""
    retry_after_s: float = 0.0


class _ResponderAnswer(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CONTENT_CHARS, pattern=r"^[^\0]*$")]


Responders = Mapping[int, tuple[str, Responder]]
"""The responders with their source's name, by the source's number."""


class Responding:
    """Sends this process's requests to responders, and keeps their circuit breakers."""

    def __init__(self, wrote: Callable[[], None] = lambda: None) -> None:
        """`wrote` is called after each reply that a call has brought."""
        self._wrote = wrote
        self._breakers: dict[str, CircuitBreaker] = {}

    def start(
        self, db: Transactions, background: Background, responders: Responders, *, allow_private: bool = True
    ) -> None:
        """Start the calls that are due and may be made now; returns at once.

        Without `allow_private` no responder may be in a private network, whatever its source's settings say.
        """
        for source_id, (source, named) in responders.items():
            responder = replace(named, allow_private=named.allow_private and allow_private)
            breaker = self._breakers.setdefault(source, CircuitBreaker())
            free = breaker.admit(responder.concurrency - background.running(source))
            if free > 0:
                for call in _lease(db, source_id, free, lease_s=responder.timeout_s + LEASE_BEYOND_TIMEOUT_S):
                    background.run(source, partial(self._make, db, source, responder, call))
            else:
                give_up(db, source_id, responder)

    def _make(self, db: Transactions, source: str, responder: Responder, call: ReplyRequest) -> None:
        try:
            outcome = self._outcome(db, source, responder, call)
            pause_s = max(outcome.retry_after_s, BACKOFF.pause_s(call.attempts))
            if outcome.passing and call.age_s + pause_s < responder.retry_for_s:
                db.fetch(reply_statements.POSTPONE_REPLY_REQUEST, *call.key, pause_s)
            else:
                _finish(db, call, outcome.content, responder.fallback)
                self._wrote()
        except Exception as error:
            if not is_outage(error):  # in an outage the lease runs out, and the call is made again
                log.exception("a reply's call failed", source=source)

    def _outcome(self, db: Transactions, source: str, responder: Responder, call: ReplyRequest) -> _Outcome:
        if call.attempts > 1 and call.age_s >= responder.retry_for_s:
            return _Outcome(failure="its time is over")  # whoever claimed it before died, perhaps of its answer
        try:
            with metrics.REPLY_CALL_SECONDS.labels(source).time():
                outcome = _ask(db, responder, call)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("a reply's call failed in an unforeseen way", source=source)
            outcome = _Outcome(failure=f"unforeseen: {type(error).__name__}", passing=True)
        self._count(source, outcome)
        return outcome

    def _count(self, source: str, outcome: _Outcome) -> None:
        breaker = self._breakers[source]
        was_open = breaker.is_open
        breaker.record(failed=outcome.passing)
        if breaker.is_open != was_open:
            metrics.RESPONDER_CIRCUIT_OPEN.labels(source).set(breaker.is_open)
            state = "open" if breaker.is_open else "closed"
            log.warning("circuit breaker of the responder", state=state, source=source, reason=outcome.failure)
        elif outcome.failure and not was_open:
            log.warning("responder gave no reply", source=source, reason=outcome.failure)
        told = "answered" if outcome.content is not None else "failed" if outcome.passing else "refused"
        metrics.REPLY_CALLS.labels(source, told).inc()


def give_up(db: Transactions, source_id: int, responder: Responder | None) -> None:
    """Answer without a call what has waited long enough; all of it where there is no responder any more."""
    age_s, fallback = (0.0, None) if responder is None else (responder.retry_for_s, responder.fallback)
    until = time.monotonic() + GIVING_UP_S
    for call in _lease(db, source_id, GIVEN_UP_AT_ONCE, age_s=age_s):
        if time.monotonic() > until:
            return  # other sources are waiting; the leases of the rest run out, and they are claimed again
        _finish(db, call, None, fallback)


def give_up_orphans(db: Transactions, responders: Responders) -> None:
    """Answer what sources have left that have no responder any more."""
    for (source_id,) in db.fetch(reply_statements.SOURCES_WITH_REPLY_REQUESTS):
        if source_id not in responders:
            give_up(db, source_id, None)


def _lease(
    db: Transactions, source_id: int, limit: int, *, lease_s: float = LEASE_BEYOND_TIMEOUT_S, age_s: float = 0.0
) -> list[ReplyRequest]:
    """Lease at most `limit` requests that are due and `age_s` old. Nobody else gets them for `lease_s`."""
    return [
        ReplyRequest(*row) for row in db.fetch(reply_statements.LEASE_REPLY_REQUESTS, source_id, limit, lease_s, age_s)
    ]


def _ask(db: Transactions, responder: Responder, call: ReplyRequest) -> _Outcome:
    body = _request(db, call)
    headers = responder.signer.sign(body, call.webhook_id, time.time()) | {"Content-Type": "application/json"}
    try:
        answer = post(
            responder.url, body, headers, timeout_s=responder.timeout_s, allow_private=responder.allow_private
        )
    except RequestFailed as error:
        return _Outcome(failure=str(error), passing=error.may_pass)
    if answer.status in _PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _Outcome(failure=f"status {answer.status}", passing=True, retry_after_s=answer.retry_after_s)
    if not 200 <= answer.status <= 299:  # noqa: PLR2004 (what 2xx means)
        return _Outcome(failure=f"status {answer.status}")
    try:
        return _Outcome(msgspec.json.decode(answer.body.removeprefix(BOM_UTF8), type=_ResponderAnswer).content)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors, and so is "not UTF-8"
        return _Outcome(failure=f"its answer is no reply: {error}")


def _request(db: Transactions, call: ReplyRequest) -> bytes:
    rows = db.fetch(
        reply_statements.GROUP, call.conversation_id, call.source_id, call.first_seq, call.last_seq, MAX_GROUP_BYTES
    )
    messages = [{"id": key, "content": content, "timestamp": timestamp} for key, content, timestamp, _ in rows]
    omitted = rows[0][-1] - len(rows) if rows else 0
    data = {"conversation_id": call.conversation_id, "messages": messages, "omitted": omitted}
    return msgspec.json.encode({"type": "REPLY_WANTED", "timestamp": call.made_at, "data": data})


def _finish(db: Transactions, call: ReplyRequest, *contents: str | None) -> None:
    """Write the reply, if nobody has yet: the first of the contents that is there and that the database can store.

    Without one, the reply is the messages' ids.
    """
    for content in (each for each in contents if each is not None):
        try:
            return _write(db, call, content)
        except StatementFailed as error:
            log.warning("a reply cannot be stored", source_id=call.source_id, reason=str(error))
    return _write(db, call, None)


def _write(db: Transactions, call: ReplyRequest, content: str | None) -> None:
    [(made,)] = db.fetch(reply_statements.FINISH_REPLY_REQUEST, *call.key, content, REPLY_HEADING)
    if not made:
        log.info("no reply is written: it was before, or its conversation is erased", source_id=call.source_id)
