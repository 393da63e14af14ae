"""Signing in to the page: a reader's token, kept in a cookie that no script can read (docs/adr/0021).

The cookie has the token itself, so every service checks it against the file of tokens each time, and a token that is
taken away ends what it signed in. Over TLS it is `__Host-realmate`; without TLS it is `realmate`, on loopback alone.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from werkzeug.http import dump_cookie
from werkzeug.wrappers import Request

from realmate.http_server.readers import COOKIES, readers
from realmate.sources.limits import LocalRateLimiter, RateLimit
from realmate.sources.tokens import Holder, Scope
from realmate.wire.openapi import Operation, Success
from realmate.wire.responses import Response, problem

LASTS_S = 12 * 3600
TRIES = RateLimit(events_per_s=10 / 60, burst=10)
REMEMBERED_ADDRESSES = 10_000
OWN_HEADER = "X-Realmate-Console"
"""The header that the page sends with whatever changes something. No other page can send it here without our leave."""
_OVER_TLS, _ON_LOOPBACK = COOKIES
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /console/session."""

    token: str


class SignedIn(msgspec.Struct):
    """The name and the rights of whoever is signed in."""

    name: Annotated[str, msgspec.Meta(description="The name of the token.")]
    scopes: list[Scope]
    sources: Annotated[list[str] | None, msgspec.Meta(description="The only sources that it may see; null: all.")]
    open: Annotated[bool, msgspec.Meta(description="Whether nobody needs a token, as TOKENS_FILE is not set.")]


TOKENS_NEEDED = problem(
    403,
    "tokens_needed",
    "The console needs TOKENS_FILE, unless it is on 127.0.0.1 and asked for by that name (docs/console.md).",
)
NOT_FROM_THE_PAGE = problem(403, "not_from_the_page", f"Send {OWN_HEADER}: 1, from the console's own page, or a token.")
TOKEN_UNKNOWN = problem(401, "token_invalid", "This token is not known here.")
TLS_NEEDED = problem(403, "tls_needed", "Sign in over https: without it the token could be read on its way.")


def too_many_tries(retry_after_s: int) -> Response:
    headers = (("Retry-After", str(retry_after_s)),)
    return problem(429, "too_many_tries", "Too many tries from this address; wait a little.", headers=headers)


def closed_to(request: Request, host: str) -> Response | None:
    """Return why nothing of the console is served to this request, or None.

    Without a file of tokens it is served on loopback alone. Its names must be loopback's, too: else a page elsewhere
    could have its own name lead here (DNS rebinding).
    """
    if not readers.is_open:
        return None
    if host in _LOOPBACK and _hostname(request) in _LOOPBACK:
        return None
    return TOKENS_NEEDED


def forgery(request: Request) -> Response | None:
    """Return why a request that changes something may come from another page, or None."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.headers.get("Authorization"):
        return None
    origin = request.headers.get("Origin")
    is_ours = origin is None or urlsplit(origin).netloc in _own_hosts(request)
    if is_ours and request.headers.get(OWN_HEADER):
        return None
    return NOT_FROM_THE_PAGE


def shown(holder: Holder) -> SignedIn:
    """Return who is signed in, as the page needs it."""
    sources = None if holder.sources is None else sorted(holder.sources)
    return SignedIn(holder.name, sorted(holder.scopes), sources, readers.is_open)


def cookie_of(request: Request, token: str) -> str | None:
    """Return the cookie that signs in, or None where it could be read on its way: no TLS, and not on this machine."""
    if request.headers.get("X-Forwarded-Proto", "http") == "https":
        return dump_cookie(_OVER_TLS, token, max_age=LASTS_S, httponly=True, secure=True, samesite="Strict", path="/")
    if _hostname(request) in _LOOPBACK:
        return dump_cookie(_ON_LOOPBACK, token, max_age=LASTS_S, httponly=True, samesite="Strict", path="/")
    return None


def cookies_out() -> list[str]:
    """Return the cookies that sign out."""
    return [
        dump_cookie(name, "", max_age=0, httponly=True, secure=name == _OVER_TLS, samesite="Strict", path="/")
        for name in COOKIES
    ]


class Tries:
    """Counts the tries to sign in from each address, in this process."""

    def __init__(self) -> None:
        self._limiter = LocalRateLimiter()
        self._seen: set[str] = set()

    def retry_after_s(self, address: str) -> int:
        """Count one try. Return after how many seconds the next one is right, or 0 where this one is."""
        if len(self._seen) >= REMEMBERED_ADDRESSES:
            self._limiter, self._seen = LocalRateLimiter(), set()
        self._seen.add(address)
        allowance = self._limiter.admit({address: (TRIES, 1)})[address]
        return 0 if allowance.allowed else max(1, int(allowance.retry_after_s + 1))


def _hostname(request: Request) -> str:
    return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""


def _own_hosts(request: Request) -> set[str]:
    return {request.headers.get("Host", ""), request.headers.get("X-Forwarded-Host", "")} - {""}


_SIGNED_IN = SignedIn("ana", ["operate", "read"], ["shop"], open=False)
_TAG = "signing in"
OPERATIONS = (
    Operation(
        "GET",
        "/console/session",
        "show_session",
        "Show who is signed in",
        (Success(200, "The name and the rights of the token.", SignedIn, example=_SIGNED_IN),),
        (),
        scope="any",
        tag=_TAG,
    ),
    Operation(
        "POST",
        "/console/session",
        "sign_in",
        "Sign in with a token",
        (
            Success(
                200, "The token is known; the cookie has it.", SignedIn, headers=("Set-Cookie",), example=_SIGNED_IN
            ),
        ),
        (TOKEN_UNKNOWN, TLS_NEEDED, too_many_tries(6)),
        "The cookie is good for 12 hours at every service. One address has ten tries a minute.",
        body=SignIn,
        body_examples={"a token": {"token": "rmt_…"}},
        tag=_TAG,
    ),
    Operation(
        "DELETE",
        "/console/session",
        "sign_out",
        "Sign out",
        (Success(204, "The cookies are gone from the browser. The token stays good.", headers=("Set-Cookie",)),),
        (),
        tag=_TAG,
    ),
)
