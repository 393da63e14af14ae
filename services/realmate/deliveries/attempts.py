"""One attempt at a delivery: the request, and what its answer means."""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from realmate.egress.client import EgressResponse, RequestFailed, post
from realmate.feed.events import Event
from realmate.sources.endpoints import Endpoint

READ_BYTES = 4_096
KEPT_BYTES = 1_024
"""The bytes of an answer that are kept, for whoever looks why a delivery failed."""
LONGEST_HOLD_S = 86_400.0
MOST_JITTER = 0.1

_OF_THE_ENDPOINT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
"""The client errors that say something about the endpoint, and not about one event."""
_WITH_RETRY_AFTER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class Result(NamedTuple):
    """The outcome of an attempt."""

    outcome: str
    """`delivered`, `failed` or `given_up`."""
    pause_s: float = 0.0
    """After a failure: the time until the next attempt."""
    status: int | None = None
    failure: str = ""
    answer: bytes = b""
    hold_s: float = 0.0
    """The time for which the receiver wants nothing more."""
    is_gone: bool = False
    """Whether the endpoint is to be paused: it said 410."""
    is_endpoint_s: bool = False
    """Whether the failure is the endpoint's and not one event's: the circuit breaker counts it."""
    took_s: float = 0.0

    @property
    def is_delivered(self) -> bool:
        return self.outcome == "delivered"


def body_of(event: Event, *, gap: bool = False) -> bytes:
    """Return the body: the event as the feed tells it. `gap` says that one before it was given up."""
    body = msgspec.json.encode(event)
    return body[:-1] + b',"gap":true}' if gap else body


def attempt(endpoint: Endpoint, event: Event, failures: int, *, gap: bool) -> Result:
    """Send an event that failed so many times before."""
    body = body_of(event, gap=gap)
    headers = endpoint.signer.sign(body, event.id, time.time()) | {"Content-Type": "application/json"}
    began = time.monotonic()
    try:
        answer = post(
            endpoint.url,
            body,
            headers,
            timeout_s=endpoint.timeout_s,
            allow_private=endpoint.allow_private,
            first_bytes=READ_BYTES,
        )
    except RequestFailed as error:
        result = failed(endpoint, failures, str(error))
    else:
        result = judge(endpoint, failures, answer)
    return result._replace(took_s=time.monotonic() - began)


def judge(endpoint: Endpoint, failures: int, answer: EgressResponse) -> Result:
    """Return what an answer means for a delivery that failed so many times before."""
    status, kept = answer.status, answer.body[:KEPT_BYTES]
    if 200 <= status <= 299:  # noqa: PLR2004 (what 2xx means)
        return Result("delivered", status=status, answer=kept)
    failure = f"status {status}"
    if status == HTTPStatus.GONE:
        return Result("failed", 0.0, status, failure, kept, is_gone=True)
    is_endpoint_s = status in _OF_THE_ENDPOINT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if answer.headers.get("webhook-delivery", "").strip().lower() == "abort-message":
        failure = f"{failure}: the receiver wants it no more"
        return Result("given_up", 0.0, status, failure, kept, is_endpoint_s=is_endpoint_s)
    hold_s = min(answer.retry_after_s, LONGEST_HOLD_S) if status in _WITH_RETRY_AFTER else 0.0
    result = failed(endpoint, failures, failure)
    return result._replace(
        pause_s=max(result.pause_s, hold_s), status=status, answer=kept, hold_s=hold_s, is_endpoint_s=is_endpoint_s
    )


def failed(endpoint: Endpoint, failures: int, failure: str) -> Result:
    """Return what one more failure means. Without an answer it is the endpoint's."""
    pause_s = endpoint.pause_s(failures + 1)
    if pause_s is None:
        return Result("given_up", failure=failure, is_endpoint_s=True)
    jitter = random.uniform(1.0, 1.0 + MOST_JITTER)  # noqa: S311 (to spread, not to hide)
    return Result("failed", pause_s * jitter, failure=failure, is_endpoint_s=True)
