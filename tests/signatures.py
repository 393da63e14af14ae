"""Requests signed as a sender signs them, by the library that senders use."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_SECRET = "whsec_" + "B" * 43 + "="


def signature(body: bytes, *, secret: str = SECRET, ago_s: float = 0, message_id: str | None = None) -> dict[str, str]:
    """The headers of Standard Webhooks for this body; without a `message_id` it is a new one."""
    message_id, sent_at = message_id or f"msg_{uuid4().hex}", int(time.time() - ago_s)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": _sign(secret, message_id, sent_at, body),
    }


def is_signed(body: bytes, headers: Mapping[str, str], *, secret: str = SECRET) -> bool:
    """Whether the signature is right, whatever the hour."""
    try:
        sent_at = int(headers["webhook-timestamp"])
        return _sign(secret, headers["webhook-id"], sent_at, body) in headers["webhook-signature"].split()
    except (KeyError, ValueError):
        return False


def _sign(secret: str, message_id: str, sent_at: int, body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:  # which the library has no way to sign
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.digest(key, f"{message_id}.{sent_at}.".encode() + body, "sha256")
        return f"v1,{base64.b64encode(digest).decode()}"
    return Webhook(secret).sign(message_id, datetime.fromtimestamp(sent_at, UTC), text)
