"""The content of messages: the envelopes of Nameko's RPC, in MessagePack, and the properties beside them.

A batch is the one argument of `conversations.apply`; its id is the correlation id, and how long its caller will wait is
the message's expiration, so that the broker itself drops what nobody waits for any more.
"""

from __future__ import annotations

from typing import Any

import msgspec

ATTEMPT = "realmate.attempt"
"""A header: beyond 1, the batch was sent before, and may have arrived."""
SEAL = "realmate.seal"
"""A header, of a batch and of its reply, where there are keys (`realmate.wire.seals`)."""
DEFAULT_TIMEOUT_MS = 5000
"""The timeout of callers that set no expiration, such as Nameko's own proxies."""


class _Request(msgspec.Struct):
    args: tuple[bytes]


class _Response(msgspec.Struct):
    result: bytes | None
    error: Any = None


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(_Request)
_responses = msgspec.msgpack.Decoder(_Response)


def encode_request(payload: bytes) -> bytes:
    return _encoder.encode({"args": [payload], "kwargs": {}})


def decode_request(body: bytes) -> bytes:
    """The payload. Raises ValueError for what is no call of `apply` with one batch."""
    return _requests.decode(body).args[0]


def encode_response(reply: bytes) -> bytes:
    return _encoder.encode({"result": reply, "error": None})


def decode_response(body: bytes) -> bytes | None:
    """The reply; None when the other end answered with an error. Raises ValueError for what is no response."""
    return _responses.decode(body).result


def headers(message: Any) -> dict[str, Any]:
    """The headers of a message, whatever is in their place."""
    found = message.properties.get("application_headers")
    return found if isinstance(found, dict) else {}


def header(message: Any, name: str) -> str:
    """A header that is a text; else empty."""
    found = headers(message).get(name, "")
    return found if isinstance(found, str) else ""
