"""The signatures of requests, over the raw body. They are checked before anything parses the body.

Two schemes: Standard Webhooks (https://www.standardwebhooks.com) and the `X-Hub-Signature-256` of Meta's WhatsApp Cloud
API. Both are HMAC-SHA256, compared in constant time. Several secrets may be active at once, so that a new one can be
introduced before the old one goes.

(The library `standardwebhooks` makes the signatures in the tests. It verifies text: an honest body that is not UTF-8
would be a forgery to it. And it takes 9.6 us where this takes 4.5.)

A rejection says what an honest sender needs in order to mend it, and nothing that the sender did not know.
"""

from __future__ import annotations

import binascii
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

MAX_TOLERANCE_S = 300.0
"""Standard Webhooks' own five minutes: who stores ids against replays need not keep them longer."""
MAX_SIGNATURE_CHARS = 1024
"""The size of some twenty signatures. Each costs a comparison, so a header full of them would be an attack."""
MIN_SECRET_BYTES = 16
MIN_DIFFERENT_BYTES = 3
BYTE_ORDER_MARK = "\ufeff"
STANDARD_PREFIX = "whsec_"
HUB_PREFIX = "sha256="


class SignatureRejected(Exception):
    """The request is not proven to be from its source; the message is for the sender."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The label for the metrics: missing, malformed, expired or mismatch."""


class WeakSecret(ValueError):
    """The secret cannot be used; the message says why, and not what it is."""


class Verifier(Protocol):
    name: ClassVar[str]
    """The scheme's name, in the file of sources."""
    headers: ClassVar[tuple[str, ...]]
    """The headers that it reads, in lower case. The HTTP server keeps these for it."""
    signs_key: bool
    """Whether the signature covers the idempotency key, so that only the source can have chosen it."""

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Raise SignatureRejected where no body could fit these headers. `verify` asks this first, too."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Raise SignatureRejected. `headers` by their names in lower case."""

    def sign(self, body: bytes, message_id: str, now: float) -> dict[str, str]:
        """The headers that prove it. `now` is time.time()."""


class StandardWebhooks:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature`, over id, timestamp and body."""

    name: ClassVar[str] = "standard-webhooks"
    headers: ClassVar[tuple[str, ...]] = ("webhook-id", "webhook-timestamp", "webhook-signature")
    signs_key = True

    def __init__(self, secrets: Sequence[str], *, tolerance_s: float = MAX_TOLERANCE_S) -> None:
        """Raises WeakSecret."""
        self._keys = [self.key(secret) for secret in secrets]
        self._tolerance_s = tolerance_s

    @staticmethod
    def key(secret: str) -> bytes:
        """Return the key that the secret stands for. Raises WeakSecret."""
        if not secret.startswith(STANDARD_PREFIX):
            raise WeakSecret(f"must start with {STANDARD_PREFIX}")
        text = secret.removeprefix(STANDARD_PREFIX).rstrip("=")
        try:
            key = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except ValueError:
            raise WeakSecret(f"must be base64 after {STANDARD_PREFIX}") from None
        return _long_enough(key)

    def check_headers(self, headers: Mapping[str, str]) -> None:
        missing = [name for name in self.headers if not headers.get(name)]
        if missing:
            raise SignatureRejected("missing", f"This source signs its requests, and {_words(missing)} missing.")
        self._check_time(headers["webhook-timestamp"])
        if len(headers["webhook-signature"]) > MAX_SIGNATURE_CHARS:
            raise SignatureRejected("malformed", f"webhook-signature has more than {MAX_SIGNATURE_CHARS} characters.")

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.check_headers(headers)
        signed = b".".join((headers["webhook-id"].encode("latin-1"), headers["webhook-timestamp"].encode(), body))
        signatures = headers["webhook-signature"].encode("latin-1").split(b" ")
        if not any(_matches(key, signed, signatures) for key in self._keys):
            raise SignatureRejected("mismatch", "No v1 signature in webhook-signature matches id, timestamp and body.")

    def sign(self, body: bytes, message_id: str, now: float) -> dict[str, str]:
        timestamp = str(int(now))
        signed = b".".join((message_id.encode(), timestamp.encode(), body))
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": b" ".join(_signature(key, signed) for key in self._keys).decode(),
        }

    def _check_time(self, timestamp: str) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
            raise SignatureRejected("malformed", "webhook-timestamp must be in whole seconds since 1970.")
        if abs(time.time() - int(timestamp)) > self._tolerance_s:
            message = f"webhook-timestamp is more than {self._tolerance_s:g} s from the moment the request came."
            raise SignatureRejected("expired", message)


class HubSignature:
    """`X-Hub-Signature-256`, over the body alone: it does not say when it was made, so it does not stop a replay."""

    name: ClassVar[str] = "x-hub-signature-256"
    headers: ClassVar[tuple[str, ...]] = ("x-hub-signature-256",)
    signs_key = False

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises WeakSecret."""
        self._keys = [self.key(secret) for secret in secrets]

    @staticmethod
    def key(secret: str) -> bytes:
        """Return the key that the secret stands for. Raises WeakSecret."""
        return _long_enough(secret.encode())

    def check_headers(self, headers: Mapping[str, str]) -> None:
        self._given(headers)

    def _given(self, headers: Mapping[str, str]) -> bytes:
        given = headers.get("x-hub-signature-256")
        if not given:
            raise SignatureRejected("missing", "This source signs its requests, and X-Hub-Signature-256 is missing.")
        if not given.startswith(HUB_PREFIX):
            raise SignatureRejected("malformed", f"X-Hub-Signature-256 must start with {HUB_PREFIX}")
        try:
            return binascii.unhexlify(given.removeprefix(HUB_PREFIX))
        except ValueError:
            raise SignatureRejected("malformed", "X-Hub-Signature-256 must be in hexadecimal digits.") from None

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        signature = self._given(headers)
        if not any(hmac.compare_digest(hmac.digest(key, body, "sha256"), signature) for key in self._keys):
            raise SignatureRejected("mismatch", "X-Hub-Signature-256 does not match the body.")

    def sign(self, body: bytes, message_id: str, now: float) -> dict[str, str]:  # noqa: ARG002 (it covers the body alone)
        return {"X-Hub-Signature-256": HUB_PREFIX + hmac.digest(self._keys[0], body, "sha256").hex()}


SCHEMES: tuple[type[StandardWebhooks | HubSignature], ...] = (StandardWebhooks, HubSignature)
SIGNATURE_HEADERS = tuple(name for scheme in SCHEMES for name in scheme.headers)


def cleaned(text: str) -> str:
    """The secret without what editors and shells leave around it. Raise WeakSecret for what cannot be one."""
    secret = text.strip().removeprefix(BYTE_ORDER_MARK).strip()
    if any(character.isspace() for character in secret):
        raise WeakSecret("has white space within: it must be one line, and one secret")
    if not (secret.isascii() and secret.isprintable()):
        raise WeakSecret("has other characters than those of ASCII that can be printed")
    return secret


def check_guessable(key: bytes) -> None:
    """Raise WeakSecret for one that anybody would try first, such as sixteen zeros."""
    if len(set(key)) < MIN_DIFFERENT_BYTES:
        raise WeakSecret("repeats one or two bytes; openssl rand -base64 32 makes a good one")


def _long_enough(key: bytes) -> bytes:
    if len(key) < MIN_SECRET_BYTES:
        raise WeakSecret(f"must have at least {MIN_SECRET_BYTES} bytes; openssl rand -base64 32 makes a good one")
    return key


def _matches(key: bytes, signed: bytes, signatures: Sequence[bytes]) -> bool:
    expected = _signature(key, signed)
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


def _signature(key: bytes, signed: bytes) -> bytes:
    return b"v1," + binascii.b2a_base64(hmac.digest(key, signed, "sha256"), newline=False)


def _words(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
