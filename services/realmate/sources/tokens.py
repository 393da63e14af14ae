"""The tokens of readers and administrators: bearer tokens (RFC 6750), of which only hashes are kept.

The file of tokens (TOKENS_FILE; docs/sources.md) is one of its own, as the query service needs it and no secret of a
source.

A token is 32 random bytes, so a plain SHA-256 keeps it: nobody guesses it, and there is nothing to slow down. It is
looked up by that hash, which tells whoever measures the time nothing about the token.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from realmate.sources.configuration import ConfigurationError, ConfigurationFile, convert
from realmate.sources.names import is_name

Scope = Literal["read", "operate", "admin"]
"""`read`: GET of conversations and changes. `operate`: rejections, replays and endpoints of its sources. `admin`: the
metrics, the audit, erasing, and all that `operate` allows."""

PREFIX = "rmt_"
"""The prefix by which people, and scanners for secrets, recognise a Realmate token."""
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


Reason = Literal["missing", "invalid", "scope"]
MESSAGES: dict[Reason, str] = {
    "missing": "This needs a token: Authorization: Bearer ….",
    "invalid": "This token is not, or not any more, known here.",
    "scope": "This token may not do that: another scope is needed.",
}


class TokenRejected(Exception):
    """The request may not do what it asks for; the message is for its sender."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(MESSAGES[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has a token."""

    name: str
    scopes: frozenset[Scope]
    sources: frozenset[str] | None = None
    """The sources whose conversations it may read; None: all."""

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes or (scope == "operate" and "admin" in self.scopes)

    def may_see(self, source: str) -> bool:
        return self.sources is None or source in self.sources


class Tokens:
    """The holders of the moment, by their tokens' hashes."""

    def __init__(self, holders: Iterable[tuple[str, Holder]]) -> None:
        self._holders = dict(holders)

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def names(self) -> list[str]:
        return sorted(holder.name for holder in self._holders.values())

    def holder(self, authorization: str | None, scope: Scope | None = None) -> Holder:
        """Whoever the Authorization header proves, if it has the scope, or any. Raises TokenRejected."""
        if not authorization:
            raise TokenRejected("missing")
        bearer = _BEARER.fullmatch(authorization)
        holder = self._holders.get(hashed(bearer.group(1))) if bearer else None
        if holder is None:
            raise TokenRejected("invalid")
        if scope is not None and not holder.has(scope):
            raise TokenRejected("scope")
        return holder


class TokensFile(ConfigurationFile[Tokens]):
    """The file of tokens. Raises ConfigurationError where it is wrong."""

    def interpret(self, document: Any) -> Tokens:
        holders: dict[str, Holder] = {}
        for name, settings in convert(document, _Document, "").tokens.items():
            place = f"tokens.{name}"
            token = convert(settings, _Token, place)
            if token.sha256 in holders:
                raise ConfigurationError(f"{place}: this is the token of {holders[token.sha256].name}, too")
            holders[token.sha256] = token.holder(name)
        return Tokens(holders.items())


def make() -> str:
    """A new token."""
    return PREFIX + secrets.token_urlsafe(32)


def entry(name: str, token: str, scopes: Sequence[str], sources: Sequence[str]) -> str:
    """Return a token's entry in the file of tokens, in TOML. Raises ConfigurationError for what no file may say."""
    settings = {"sha256": hashed(token), "scopes": list(scopes)} | ({"sources": list(sources)} if sources else {})
    convert(settings, _Token, f"tokens.{name}")
    # JSON's strings and arrays of strings are TOML's, too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join([f"[tokens.{json.dumps(name)}]", *lines])


def hashed(token: str) -> str:
    """Return what is stored of a token: its SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], msgspec.Meta(min_length=1)] = frozenset({"read"})
    sources: Annotated[frozenset[str], msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.sources is not None and "admin" in self.scopes:
            raise ValueError("has the scope admin, which is for all sources, and so cannot have `sources`")
        for name in self.sources or ():
            if not is_name(name):
                raise ValueError(f"sources: {name!r} is no source's name")

    def holder(self, name: str) -> Holder:
        return Holder(name, self.scopes, self.sources)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    tokens: dict[str, Any] = {}
