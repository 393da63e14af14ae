"""The guard for readers. With TOKENS_FILE a reader needs a token with the right scope; without it, anyone may read."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter

from realmate.http_server.request import Request
from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.runtime.settings import Settings
from realmate.sources.tokens import MESSAGES, Holder, Scope, TokenRejected, Tokens, TokensFile
from realmate.wire.responses import Response, problem

READER_HEADERS = ("authorization",)
"""The headers that `Readers.admit` reads."""
ANYONE = Holder("anyone", frozenset({"read", "admin"}))
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
    def revision(self) -> object:
        """What changes whenever another token may do something else."""
        return None if self._tokens is None else self._tokens.content

    def admit(self, request: Request, scope: Scope) -> Holder | Response:
        """Return the holder of the request's token, or the response that rejects the request (RFC 6750, 3)."""
        if self._tokens is None:
            return ANYONE
        try:
            return self._tokens.content.holder(request.headers.get("authorization"), scope)
        except TokenRejected as rejected:
            REJECTED.labels(scope, rejected.reason).inc()
            return _rejection(rejected, scope)

    def only(self, scope: Scope, respond: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """`respond`, for those who have the scope."""

        def respond_to_holders(request: Request) -> Response:
            admitted = self.admit(request, scope)
            return admitted if isinstance(admitted, Response) else respond(request)

        return respond_to_holders


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
