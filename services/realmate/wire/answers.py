"""The responses to senders: the one table that turns verdicts into HTTP."""

from __future__ import annotations

from math import ceil

from realmate.domain.events import Verdict
from realmate.sources.limits import Allowance, RateLimit
from realmate.wire.commands import EventCommand, MessageCommand
from realmate.wire.responses import Response, problem, unavailable
from realmate.wire.webhook import InvalidEvent, InvalidJson

_STATUS: dict[Verdict, int] = {
    Verdict.CREATED: 201,
    Verdict.ACCEPTED: 202,
    Verdict.HELD: 202,
    Verdict.DUPLICATE: 202,
    Verdict.CLOSED: 200,
}

HELD_RETRY_AFTER_S = 2
"""Each message waits for a few seconds only, so there is room again soon."""

REJECTIONS: dict[Verdict, str] = {
    Verdict.CONVERSATION_EXISTS: "Conversation {conversation} exists already.",
    Verdict.CONVERSATION_CLOSED: "Conversation {conversation} is closed; it takes no more messages.",
    Verdict.CONVERSATION_NOT_FOUND: "Conversation {conversation} does not exist.",
    Verdict.CONVERSATION_ALREADY_CLOSED: "Conversation {conversation} is closed already.",
    Verdict.HOLD_EXPIRED: "Message {message} waited for conversation {conversation}, which did not come in time;"
    " it will not enter it any more.",
    Verdict.TOO_MANY_HELD: "Too many messages wait already, for conversation {conversation} or for others of this"
    " source that do not exist yet. Open the conversation first, or send the message again later.",
    Verdict.IDEMPOTENCY_MISMATCH: "This idempotency key came with another body before.",
    Verdict.UNSTORABLE: "The event holds something that cannot be stored; sent again, it would be rejected again.",
    Verdict.FAILED: "The event could not be processed.",
    Verdict.MESSAGE_CONFLICT: "Id {message} belongs to another message (other content or another conversation).",
}


def answer(command: EventCommand, verdict: Verdict) -> Response:
    if verdict is Verdict.FAILED:
        return unavailable("The event could not be processed now; send it again.")
    status = _STATUS.get(verdict)
    if verdict is Verdict.TOO_MANY_HELD:
        return problem(429, verdict, rejected(command, verdict), headers=(("Retry-After", str(HELD_RETRY_AFTER_S)),))
    if status is None:
        return problem(400, verdict, rejected(command, verdict))
    # Written by hand: three fixed shapes of UUIDs and enum members, nothing in them can need escaping.
    also = f'"message_id":"{command.message_id}",' if isinstance(command, MessageCommand) else ""
    body = f'{{"status":"{verdict}",{also}"conversation_id":"{command.conversation_id}"}}'
    return Response(status, body.encode())


def rejected(command: EventCommand, verdict: Verdict) -> str:
    """Why it was rejected, for a person."""
    message = command.message_id if isinstance(command, MessageCommand) else None
    return REJECTIONS[verdict].format(conversation=command.conversation_id, message=message)


MISMATCH = problem(400, Verdict.IDEMPOTENCY_MISMATCH, REJECTIONS[Verdict.IDEMPOTENCY_MISMATCH])

UNKNOWN_SOURCE = problem(
    404, "source_not_found", "There is no such source here. (The source of /webhook/ is called default.)"
)

PAUSED = unavailable("This source is paused; send the event again later.", retry_after_s=60)


def unproven(message: str) -> Response:
    """The answer to a request that is not proven to be from its source."""
    return problem(401, "signature_invalid", message, headers=(("WWW-Authenticate", "Signature"),))


def too_large(limit_bytes: int) -> Response:
    """The answer to a body that is larger than its source may send."""
    return problem(413, "body_too_large", f"The body is larger than this source's {limit_bytes} bytes.")


def key_too_long(limit_chars: int) -> Response:
    """The answer to a request whose idempotency key could not be kept."""
    return problem(400, "invalid_idempotency_key", f"An idempotency key has at most {limit_chars} characters.")


def too_many(name: str, limit: RateLimit, allowance: Allowance) -> Response:
    """The answer to an event beyond its source's limit.

    The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
    """
    retry_after_s, reset_s = max(1, ceil(allowance.retry_after_s)), ceil(allowance.reset_s)
    return problem(
        429,
        "too_many_events",
        f"This source may send {limit.events_per_s:g} events a second, {limit.burst} at once.",
        headers=(
            ("Retry-After", str(retry_after_s)),
            ("RateLimit-Policy", f'"{name}";q={limit.burst};w={max(1, ceil(limit.window_s))}'),
            ("RateLimit", f'"{name}";r={allowance.left};t={reset_s}'),
        ),
    )


def rejection(error: InvalidJson | InvalidEvent) -> Response:
    """The answer to a body that is no event."""
    if isinstance(error, InvalidEvent):
        detail = "The event is not valid: see errors for each field."
        return problem(400, "invalid_event", detail, errors=error.errors)
    return problem(400, "invalid_json", f"The body is not JSON: {error}.")
