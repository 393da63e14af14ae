"""Intake: events in over HTTP, the verdict of the conversations service out. Holds no state."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from realmate.runtime.config import ServiceSettings
from realmate.runtime.http import Request, http_batch
from realmate.runtime.sources import Sources
from realmate.runtime.transport import CommandCaller
from realmate.runtime.transport.interface import TransportUnavailable
from realmate.sources.model import DEFAULT
from realmate.sources.signing import SignatureRefused
from realmate.webhook import observation
from realmate.wire.answers import UNKNOWN_SOURCE, answer, refusal, too_large, unproven
from realmate.wire.commands import Command, UnknownVersion, decode_verdicts, encode_commands
from realmate.wire.responses import Response, unavailable
from realmate.wire.webhook import InvalidEvent, InvalidJson, parse_event

log = structlog.get_logger(__name__)


class WebhookService:
    name = "webhook"

    commands = CommandCaller()
    settings = ServiceSettings()

    sources = Sources()

    @http_batch("POST", "/webhook/")
    @http_batch("POST", "/webhook/{source}/")
    def receive(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of events: the well-formed ones travel together, as one command message."""
        parsed = [self._parse(request) for request in requests]
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

    def _parse(self, request: Request) -> Command | Response:
        source = self.sources.get(request.param or DEFAULT)
        if source is None:
            return UNKNOWN_SOURCE
        if source.max_body_bytes is not None and len(request.body) > source.max_body_bytes:
            return too_large(source.max_body_bytes)
        try:
            if source.verifier is not None:
                source.verifier.verify(request.body, request.headers)
            return parse_event(request.body, request.request_id)
        except SignatureRefused as refused:
            observation.REFUSED_SIGNATURES.labels(source.name, refused.reason).inc()
            return unproven(str(refused))
        except (InvalidJson, InvalidEvent) as error:
            return refusal(error)
