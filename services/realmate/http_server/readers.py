"""The guard for readers. With TOKENS_FILE a reader needs a token with the right scope; without it, anyone may read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import Counter
from werkzeug.http import parse_cookie

from realmate.http_server.request import Request
from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.runtime.settings import Settings
from realmate.sources.tokens import MESSAGES, Holder, Scope, TokenRejected, Tokens, TokensFile
from realmate.wire.responses import Response, problem

READER_HEADERS = ("authorization", "cookie")
"""The headers that `Readers.admit` reads."""
COOKIES = ("__Host-realmate", "realmate")
"""The cookies in which a browser keeps the token of whoever signed in to the console: over TLS, and on loopback."""
ANYONE = Holder("anyone", frozenset({"read", "operate", "admin"}))
REJECTED = Counter("realmate_rejected_tokens_total", "Requests without a token that allows them", ["scope", "reason"])


class Readers:
    """The guard of this process. There is one instance: `readers`."""

    _tokens: ReloadingFile[Tokens] | None = None

    def open(self, settings: Settings) -> None:
        """Read TOKENS_FILE, where it is set, and follow it. Raises SettingsError."""
        if settings.tokens_file is not None:
            self._tokens = ReloadingFile("tokens", TokensFile, settings.tokens_file)
            loops.spawn("follow TOKENS_FILE", self._tokens.watch)

    @property
    def is_open(self) -> bool:
        """Whether anyone may read: there is no file of tokens."""
        return self._tokens is None

    @property
    def revision(self) -> object:
        """What changes whenever another token may do something else."""
        return None if self._tokens is None else self._tokens.content

    def admit(self, request: Request, scope: Scope) -> Holder | Response:
        """Return the holder of the request's token, or the response that rejects the request (RFC 6750, 3)."""
        return self.admit_headers(request.headers, scope)

    def admit_headers(self, headers: Mapping[str, str], scope: Scope) -> Holder | Response:
        """Do the same for a request that has these headers, by their names in lower case."""
        if self._tokens is None:
            return ANYONE
        try:
            return self._tokens.content.holder(authorization_of(headers), scope)
        except TokenRejected as rejected:
            REJECTED.labels(scope, rejected.reason).inc()
            return _rejection(rejected, scope)

    def identify(self, headers: Mapping[str, str]) -> Holder | Response:
        """Return the holder of the request's token, whatever its scopes are."""
        if self._tokens is None:
            return ANYONE
        try:
            return self._tokens.content.holder(authorization_of(headers))
        except TokenRejected as rejected:
            return _rejection(rejected, "read")

    def holder_of(self, token: str) -> Holder:
        """Return the holder of a token, whatever its scopes are. Raises TokenRejected."""
        return ANYONE if self._tokens is None else self._tokens.content.holder(f"Bearer {token}")

    def only(self, scope: Scope, respond: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """`respond`, for those who have the scope."""

        def respond_to_holders(request: Request) -> Response:
            admitted = self.admit(request, scope)
            return admitted if isinstance(admitted, Response) else respond(request)

        return respond_to_holders


def authorization_of(headers: Mapping[str, str]) -> str | None:
    """Return the Authorization header, or what would stand there if a browser sent its cookie's token in it."""
    authorization = headers.get("authorization")
    if authorization is None and "cookie" in headers:
        cookies = parse_cookie(headers["cookie"])
        for name in COOKIES:
            if name in cookies:
                return f"Bearer {cookies[name]}"
    return authorization


def token_rejections(scope: Scope) -> tuple[Response, ...]:
    """Return what `admit` may answer, for the API's document."""
    return tuple(_rejection(TokenRejected(reason), scope) for reason in MESSAGES)


def _rejection(rejected: TokenRejected, scope: Scope) -> Response:
    status, code, challenge = {
        "missing": (401, "token_required", ""),
        "invalid": (401, "token_invalid", ', error="invalid_token"'),
        "scope": (403, "insufficient_scope", f', error="insufficient_scope", scope="{scope}"'),
    }[rejected.reason]
    return problem(status, code, str(rejected), headers=(("WWW-Authenticate", f'Bearer realm="realmate"{challenge}'),))


readers = Readers()
