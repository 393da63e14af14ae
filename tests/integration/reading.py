"""What the tests of readers share: an installation whose readers have tokens, and a client that sends and reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from installation import Installation, event, start_installation
from realmate.sources import tokens


class Client:
    """One that sends events of any source, and reads with its token."""

    def __init__(self, installation: Installation, token: str = "") -> None:
        self.installation = installation
        self.url = installation.intake.url
        self.headers = {"Authorization": f"Bearer {token}"}

    def fetch(self, path: str, *, tag: str = "", **parameters: Any) -> requests.Response:
        headers = self.headers | ({"If-None-Match": tag} if tag else {})
        return requests.get(self.url + path, params=parameters, headers=headers, timeout=60)

    def post(self, kind: str, source: str = "default", **data: str) -> None:
        body = json.dumps(event(kind, **data))
        assert requests.post(f"{self.url}/webhook/{source}/", data=body, timeout=30).ok

    def opened(self, source: str = "default", key: str = "") -> str:
        key = key or str(uuid4())
        self.post("NEW_CONVERSATION", source, id=key)
        return key

    def say(self, key: str, content: str = "Olá", source: str = "default") -> None:
        self.post("NEW_MESSAGE", source, id=str(uuid4()), conversation_id=key, content=content)


@contextmanager
def start_with_readers(directory: Path, *sources: str, **settings: Any) -> Iterator[tuple[Installation, str, str]]:
    """Start everything with these sources, and yield two tokens: one for all of them, and one for `shop`.

    The feed has begun, and lists can be read.
    """
    everyone, shop = tokens.make(), tokens.make()
    entries = tokens.entry("everyone", everyone, ["read"], []), tokens.entry("shop", shop, ["read"], ["shop"])
    document = "".join(f"[sources.{name}]\n" for name in sources)
    with begun_with_tokens(directory, document, entries, everyone, **settings) as installation:
        yield installation, everyone, shop


def tokens_of(holders: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> tuple[dict[str, str], list[str]]:
    """Return a token for each name, and their entries in the file. A holder has scopes, and sources (none: all)."""
    held = {name: tokens.make() for name in holders}
    return held, [tokens.entry(name, held[name], scopes, sources) for name, (scopes, sources) in holders.items()]


@contextmanager
def begun_with_tokens(
    directory: Path, sources: str, entries: Sequence[str], token: str, **settings: Any
) -> Iterator[Installation]:
    """Start everything with this file of sources and these tokens. `token` is one of them, which may read all.

    The feed has begun, and lists can be read.
    """
    (directory / "sources.toml").write_text(sources)
    (directory / "tokens.toml").write_text("\n\n".join(entries))
    files: dict[str, Any] = {name.upper() + "_FILE": str(directory / f"{name}.toml") for name in ("sources", "tokens")}
    with start_installation(directory, **settings, **files) as installation:
        client = Client(installation, token)
        give_up_at = time.monotonic() + 20
        while client.fetch("/conversations/").status_code == 503:  # the feed begins within a second
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
        yield installation
