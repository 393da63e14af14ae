"""Intake: events in over HTTP, the verdict of the conversations service out. Holds no state."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from realmate.runtime.config import ServiceSettings
from realmate.runtime.http import Request, http_batch
from realmate.runtime.transport import CommandCaller
from realmate.runtime.transport.interface import TransportUnavailable
from realmate.wire.answers import answer, refusal
from realmate.wire.commands import Command, UnknownVersion, decode_verdicts, encode_commands
from realmate.wire.responses import Response, unavailable
from realmate.wire.webhook import InvalidEvent, InvalidJson, parse_event

log = structlog.get_logger(__name__)


class WebhookService:
    name = "webhook"

    commands = CommandCaller()
    settings = ServiceSettings()

    @http_batch("POST", "/webhook/")
    def receive(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of events: the well-formed ones travel together, as one command message."""
        parsed = [_parse(request) for request in requests]
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


def _parse(request: Request) -> Command | Response:
    try:
        return parse_event(request.body, request.request_id)
    except (InvalidJson, InvalidEvent) as error:
        return refusal(error)
