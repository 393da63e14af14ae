"""The reader's side of the HTTP API, for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import requests

from realmate.admin.client import clean_token, session_for
from realmate.admin.waiting import patiently
from realmate.errors import UserError

TIMEOUTS_S = (5.0, 60.0)
"""How long to wait for a connection, and for a response: a long poll takes up to 30 s."""
PAGE, EVENTS = 200, 100


class ReadError(UserError):
    """The server gave no answer that can be shown."""


class CursorExpired(ReadError):
    """What came after the cursor is not kept any more."""

    def __init__(self, detail: str, oldest: str) -> None:
        super().__init__(detail)
        self.oldest = oldest


class ServerAway(ReadError):
    """The server does not answer now."""

    may_pass = True


class Api:
    def __init__(self, url: str, token: str | None, wait_s: float = 0.0) -> None:
        """`wait_s` is how long the first request waits for a server that does not answer yet. Raises UserError."""
        self.url = url.rstrip("/")
        self._wait_s = wait_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {clean_token(token)}"}
        self._session = session_for(self.url)

    def conversations(
        self, *, sources: Sequence[str], statuses: Sequence[str], since: datetime | None, limit: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the conversations, page after page, the newest first. Raises ReadError."""
        asked = {"source": list(sources), "status": list(statuses), "limit": min(limit, PAGE)}
        if since is not None:
            asked["updated_since"] = since.isoformat()
        page = self._get("/conversations/", asked)
        left = limit
        while True:
            yield from page["items"][:left]
            left -= len(page["items"])
            if left <= 0 or page["next"] is None:
                return
            page = self._get(page["next"])

    def conversation(self, conversation_id: str, source: str | None, messages: int | None) -> dict[str, Any]:
        """Return one conversation. Raises ReadError."""
        found: dict[str, Any] = self._get(
            f"/conversations/{conversation_id}/", {"source": source, "messages": messages}
        )
        return found

    def changes(self, after: str | None, filters: Mapping[str, Sequence[str]], *, wait_s: float) -> dict[str, Any]:
        """Return the next page of the feed. Raises ReadError, and CursorExpired."""
        asked = {**filters, "after": after, "wait": f"{wait_s:g}", "limit": EVENTS}
        found: dict[str, Any] = self._get("/changes/", asked)
        return found

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return patiently(lambda: self._try(path, parameters), self._wait_s)

    def _try(self, path: str, parameters: Mapping[str, Any] | None) -> Any:
        try:
            answer = self._session.get(
                self.url + path, params=parameters, headers=self._headers, timeout=TIMEOUTS_S, allow_redirects=False
            )
        except requests.ConnectionError as error:
            raise ServerAway(f"nothing answers at {self.url}; name another server with --url") from error
        except (requests.RequestException, ValueError) as error:
            raise ReadError(f"cannot read from {self.url}: {error}") from error
        if answer.ok:
            return answer.json()
        raise _problem(answer)


def _problem(answer: requests.Response) -> ReadError:
    try:
        said = answer.json()
        detail = "; ".join(f"{error['field']} {error['message']}" for error in said.get("errors", ())) or said["detail"]
    except (ValueError, KeyError, TypeError):
        return ReadError(f"the server answered {answer.status_code} {answer.reason}")
    if answer.status_code == requests.codes.gone:
        return CursorExpired(detail, said["oldest"])
    if answer.status_code == requests.codes.service_unavailable:
        return ServerAway(detail)
    return ReadError(f"{answer.status_code}: {detail}")
