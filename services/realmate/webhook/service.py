"""Intake: events in over HTTP, the verdict of the conversations service out. Holds no state."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import structlog

from realmate.runtime.config import ServiceSettings
from realmate.runtime.http import Request, http_batch
from realmate.runtime.limits import Limits
from realmate.runtime.sources import Sources
from realmate.runtime.transport import CommandCaller
from realmate.runtime.transport.interface import TransportUnavailable
from realmate.sources.limits import Limit
from realmate.sources.model import DEFAULT, Source
from realmate.sources.signing import SignatureRefused
from realmate.webhook import observation
from realmate.wire.answers import UNKNOWN_SOURCE, answer, key_too_long, refusal, too_large, too_many, unproven
from realmate.wire.commands import Command, Origin, UnknownVersion, decode_verdicts, encode_commands
from realmate.wire.responses import Response, unavailable
from realmate.wire.webhook import InvalidEvent, InvalidJson, parse_event

MAX_KEY_CHARS = 255
DIGEST_BYTES = 16

log = structlog.get_logger(__name__)


class WebhookService:
    name = "webhook"

    commands = CommandCaller()
    settings = ServiceSettings()

    sources = Sources()
    limits = Limits()

    @http_batch("POST", "/webhook/")
    @http_batch("POST", "/webhook/{source}/")
    def receive(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of events: the well-formed ones travel together, as one command message."""
        admitted = self._within_limits([self._admit(request) for request in requests])
        parsed = [
            item if isinstance(item, Response) else _parse(request, item)
            for request, item in zip(requests, admitted, strict=True)
        ]
        accepted = [item for item in parsed if not isinstance(item, Response)]
        answers = iter(self._decide(accepted, oldest_at=requests[0].arrived_at) if accepted else ())
        return [item if isinstance(item, Response) else next(answers) for item in parsed]

    def _decide(self, commands: Sequence[Command], *, oldest_at: float) -> list[Response]:
        timeout_s = self.settings.command_timeout_s - (time.monotonic() - oldest_at)
        try:
            verdicts = decode_verdicts(self.commands.call(encode_commands(commands), timeout_s=timeout_s))
        except (TransportUnavailable, UnknownVersion) as error:
            log.warning("no verdict", reason=str(error), events=len(commands), request_id=commands[0].request_id)
            verdicts = None
        if verdicts is None:
            return [unavailable("The event could not be committed now; send it again.")] * len(commands)
        return [answer(command, verdict) for command, verdict in zip(commands, verdicts, strict=True)]

    def _admit(self, request: Request) -> Source | Response:
        """Whose the request is, or why it is nobody's."""
        source: Source | None = self.sources.get(request.param or DEFAULT)
        if source is None:
            return UNKNOWN_SOURCE
        if source.max_body_bytes is not None and len(request.body) > source.max_body_bytes:
            return too_large(source.max_body_bytes)
        if source.verifier is not None:
            try:
                source.verifier.verify(request.body, request.headers)
            except SignatureRefused as refused:
                observation.REFUSED_SIGNATURES.labels(source.name, refused.reason).inc()
                return unproven(str(refused))
        return source

    def _within_limits(self, admitted: list[Source | Response]) -> list[Source | Response]:
        """Those beyond their source's limit get its answer instead: of a batch, the last ones."""
        limited: dict[str, tuple[Limit, list[int]]] = {}
        for place, item in enumerate(admitted):
            if isinstance(item, Source) and item.limit is not None:
                limited.setdefault(item.name, (item.limit, []))[1].append(place)
        if not limited:
            return admitted
        allowances = self.limits.take({name: (limit, len(places)) for name, (limit, places) in limited.items()})
        for name, (limit, places) in limited.items():
            beyond = places[allowances[name].allowed :]
            observation.LIMITED.labels(name).inc(len(beyond))
            for place in beyond:
                admitted[place] = too_many(name, limit, allowances[name])
        return admitted


def _parse(request: Request, source: Source) -> Command | Response:
    key = request.headers.get("webhook-id") or request.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY_CHARS:
        return key_too_long(MAX_KEY_CHARS)
    digest = hashlib.blake2b(request.body, digest_size=DIGEST_BYTES).digest() if key else b""
    try:
        return parse_event(request.body, request.request_id, Origin(source.name, key, digest))
    except (InvalidJson, InvalidEvent) as error:
        return refusal(error)
