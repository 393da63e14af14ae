"""Intake: events in over HTTP, the verdict of the conversations service out. Holds no state."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from realmate.domain.events import Verdict
from realmate.http_server import Request, http_batch, isolated
from realmate.runtime.config import ServiceSettings
from realmate.runtime.limits import Limits
from realmate.runtime.sources import Sources
from realmate.sources.limits import LocalRateLimiter, RateLimit
from realmate.sources.model import DEFAULT, Source
from realmate.sources.signing import SIGNATURE_HEADERS, SignatureRejected
from realmate.transport import CommandCaller
from realmate.transport.interface import TransportUnavailable
from realmate.webhook import metrics
from realmate.wire.answers import (
    MISMATCH,
    PAUSED,
    UNKNOWN_SOURCE,
    answer,
    key_too_long,
    rejection,
    too_large,
    too_many,
    unproven,
)
from realmate.wire.commands import (
    Command,
    EventCommand,
    Origin,
    RejectedCommand,
    UnknownVersion,
    decode_verdicts,
    encode_commands,
)
from realmate.wire.responses import Response, summary_of, unavailable
from realmate.wire.webhook import InvalidEvent, InvalidJson, parse_event

MAX_KEY_CHARS = 255
NO_LIMIT_OF_ITS_OWN = 1 << 62
"""Bytes: HTTP_MAX_BODY_BYTES, which bounds every source, is always less."""
DIGEST_BYTES = 16
KEPT_REJECTIONS = RateLimit(events_per_s=100, burst=1000)
"""The rate at which rejections of one source are kept, in each process.

A source that sends nothing valid must not fill the transport.
"""

KEY_HEADERS = ("webhook-id", "idempotency-key")
"""The headers that may carry an idempotency key. The first one that is there counts."""
HEADERS = (*KEY_HEADERS, *SIGNATURE_HEADERS)

log = structlog.get_logger(__name__)


class _Rejected(NamedTuple):
    """A request that is rejected here, and to be kept."""

    command: RejectedCommand
    response: Response


_Sent = EventCommand | _Rejected
"""What is sent to the conversations service."""


def admit(injected: Any, request: Request, announced_bytes: int | None) -> Response | int:
    """Reject by its head what no body can mend. Nothing of it is kept: there is no event yet."""
    source: Source | None = injected.sources.get(request.param or DEFAULT)
    if source is None:
        return UNKNOWN_SOURCE
    limit_bytes = source.max_body_bytes
    if limit_bytes is not None and (announced_bytes or 0) > limit_bytes:
        return too_large(limit_bytes)
    if source.verifier is not None:
        try:
            source.verifier.check_headers(request.headers)
        except SignatureRejected as rejected:
            return _unproven(source, rejected)
    if source.paused:
        return PAUSED
    return NO_LIMIT_OF_ITS_OWN if limit_bytes is None else limit_bytes


class WebhookService:
    name = "webhook"

    commands = CommandCaller()
    settings = ServiceSettings()

    sources = Sources()
    limits = Limits()
    kept_rejections = LocalRateLimiter()

    @http_batch("POST", "/webhook/", admit=admit, headers=HEADERS)
    @http_batch("POST", "/webhook/{source}/", admit=admit, headers=HEADERS)
    def receive(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of events: they travel together, as one command message."""
        return self._decide(isolated(self._understand, requests), oldest_at=requests[0].arrived_at)

    def _understand(self, requests: Sequence[Request]) -> list[_Sent | Response]:
        """Return what each request asks for, or why it is rejected here. Nothing is sent yet."""
        admitted = self._within_limits(requests, [self._admit(request) for request in requests])
        understood = [
            _parse(request, item) if isinstance(item, Source) else item
            for request, item in zip(requests, admitted, strict=True)
        ]
        return self._bounded(understood)

    def _admit(self, request: Request) -> Source | Response:
        """Return the request's source, or the response that rejects it.

        The file of sources may have changed since its head came.
        """
        source: Source | None = self.sources.get(request.param or DEFAULT)
        if source is None:
            return UNKNOWN_SOURCE
        if source.max_body_bytes is not None and len(request.body) > source.max_body_bytes:
            return too_large(source.max_body_bytes)
        if source.verifier is not None:
            try:
                source.verifier.verify(request.body, request.headers)
            except SignatureRejected as rejected:
                return _unproven(source, rejected)
        return PAUSED if source.paused else source

    def _within_limits(
        self, requests: Sequence[Request], admitted: Sequence[Source | Response]
    ) -> list[Source | _Rejected | Response]:
        """Reject the events beyond their source's limit: the last ones of a batch."""
        items: list[Source | _Rejected | Response] = [*admitted]
        limited: dict[str, tuple[RateLimit, list[int]]] = {}
        for place, item in enumerate(items):
            if isinstance(item, Source) and item.limit is not None:
                limited.setdefault(item.name, (item.limit, []))[1].append(place)
        if limited:
            allowances = self.limits.admit({name: (limit, len(places)) for name, (limit, places) in limited.items()})
            for name, (limit, places) in limited.items():
                beyond = places[allowances[name].allowed :]
                metrics.LIMITED.labels(name).inc(len(beyond))
                response = too_many(name, limit, allowances[name])
                for place in beyond:
                    # Without its key: the event was not looked at, and may come again.
                    items[place] = _reject(requests[place], Origin(name), response)
        return items

    def _bounded(self, items: list[_Sent | Response]) -> list[_Sent | Response]:
        """Rejections beyond what a source may have kept go no further."""
        rejections: dict[str, list[tuple[int, Response]]] = defaultdict(list)
        for place, item in enumerate(items):
            if isinstance(item, _Rejected):
                rejections[item.command.origin.source].append((place, item.response))
        if rejections:
            wanted = {name: (KEPT_REJECTIONS, len(rejected)) for name, rejected in rejections.items()}
            for name, allowance in self.kept_rejections.admit(wanted).items():
                for place, response in rejections[name][allowance.allowed :]:
                    items[place] = response
                    metrics.UNKEPT.labels(name).inc()
        return items

    def _decide(self, items: Sequence[_Sent | Response], *, oldest_at: float) -> list[Response]:
        commands = [
            item.command if isinstance(item, _Rejected) else item for item in items if not isinstance(item, Response)
        ]
        verdicts = self._call(commands, oldest_at=oldest_at) if commands else ()
        decided = iter([None] * len(commands) if verdicts is None else verdicts)
        responses = [item if isinstance(item, Response) else _answer(item, next(decided)) for item in items]
        metrics.count_events(
            (item.command.origin.source if isinstance(item, _Rejected) else item.origin.source, response.status)
            for item, response in zip(items, responses, strict=True)
            if not isinstance(item, Response)
        )
        return responses

    def _call(self, commands: Sequence[Command], *, oldest_at: float) -> Sequence[Verdict] | None:
        """The verdicts, committed; or None: sending again is right."""
        timeout_s = self.settings.command_timeout_s - (time.monotonic() - oldest_at)
        try:
            reply = self.commands.call(encode_commands(commands), timeout_s=timeout_s)
            return decode_verdicts(reply, count=len(commands))
        except (TransportUnavailable, UnknownVersion, msgspec.DecodeError) as error:
            log.warning("no verdict", reason=str(error), events=len(commands), request_id=commands[0].request_id)
            return None


def _unproven(source: Source, rejected: SignatureRejected) -> Response:
    metrics.REJECTED_SIGNATURES.labels(source.name, rejected.reason).inc()
    return unproven(str(rejected))


def _parse(request: Request, source: Source) -> EventCommand | _Rejected:
    key = _key(request)
    if len(key) > MAX_KEY_CHARS:
        return _reject(request, Origin(source.name), key_too_long(MAX_KEY_CHARS))
    origin = _origin(source, key, request.body)
    try:
        return parse_event(request.body, request.request_id, origin)
    except (InvalidJson, InvalidEvent) as error:
        return _reject(request, origin, rejection(error))


def _key(request: Request) -> str:
    """Return the request's idempotency key; empty where it has none."""
    for name in KEY_HEADERS:
        if key := request.headers.get(name):
            return key
    return ""


def _origin(source: Source, key: str, body: bytes) -> Origin:
    """Return where the event comes from, with its idempotency key.

    A key that the signature does not cover may be a stranger's, so it counts together with the body: it can give the
    same event its first answer again, and can neither be used up for another event nor get that rejected.
    """
    if not key:
        return Origin(source.name)
    digest = hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()
    return Origin(source.name, key if source.signs_key else f"{key} {digest.hex()}", digest)


def _reject(request: Request, origin: Origin, response: Response) -> _Rejected:
    code, detail = summary_of(response)
    return _Rejected(RejectedCommand(request.request_id, code, detail, request.body, origin), response)


def _answer(item: _Sent, verdict: Verdict | None) -> Response:
    """`verdict` is None where nothing could be committed."""
    if isinstance(item, _Rejected):
        if verdict is None:
            metrics.UNKEPT.labels(item.command.origin.source).inc()
        return MISMATCH if verdict is Verdict.IDEMPOTENCY_MISMATCH else item.response
    if verdict is None:
        return unavailable("The event could not be committed now; send it again.")
    return answer(item, verdict)
