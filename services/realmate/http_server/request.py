"""A complete HTTP request, as a batch entrypoint hands it to a service."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from realmate.wire.responses import Response


class Request(msgspec.Struct):
    """One request. A service gets it when its body is complete; an `admit` hook gets it while `body` is empty."""

    method: str
    path: str
    """Percent-decoded, without the query string."""
    query: str
    """The raw query string, without the question mark."""
    body: bytes
    request_id: str
    """The sender's X-Request-Id where that is harmless, else a new id. The response repeats it."""
    arrived_at: float
    """time.monotonic() when the request was complete."""
    headers: Mapping[str, str]
    """The headers that the server or a service reads, by their names in lower case (see `Routes.headers`)."""
    param: str = ""
    """The text that the route's `{…}` segment matched."""
    version: str = "1.1"
    """The version of HTTP: "1.0" or "1.1"."""
    keep_alive: bool = True
    """Whether the sender wants to use the connection again."""
    held_bytes: int = 0
    """The bytes that it holds until it has its response: head, body and a little more."""
    handler: Any = None
    """The handler, which the server finds when the head is complete."""
    peer: str = ""
    """The address that the request came from, where its route asks for it (`http_tree`)."""
    rejection: Response | None = None
    """The answer, where the head alone was enough to reject the request. Then its body was dropped."""


_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PROCESS = secrets.token_hex(5)
_COUNTER = itertools.count(1)


def choose_request_id(from_sender: str | None) -> str:
    """The sender's id, if it can neither break a log line nor a header; else a new one, unique among processes."""
    if from_sender is not None and _SANE_ID.fullmatch(from_sender):
        return from_sender
    return f"{_PROCESS}-{next(_COUNTER):x}"
