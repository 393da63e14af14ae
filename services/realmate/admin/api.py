"""The HTTP API as the command line uses it: what readers ask, and the calls of `/admin/`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import requests

from realmate.admin.client import ATTEMPTS, TO_BE_SENT_AGAIN, clean_token, retry_after_s, session_for
from realmate.admin.waiting import patiently
from realmate.errors import UserError

TIMEOUTS_S = (5.0, 60.0)
"""How long to wait for a connection, and for a response: a long poll takes up to 30 s."""
PAGE, EVENTS = 200, 100
_scope_of = re.compile(r'\bscope="(\w+)"').search


class ReadError(UserError):
    """The server gave no answer that can be shown."""

    def __init__(self, message: str, answer: requests.Response | None = None) -> None:
        """`answer` is the error that came, if any answer did."""
        super().__init__(message)
        self.answer = answer

    @property
    def status(self) -> int | None:
        return None if self.answer is None else self.answer.status_code

    @property
    def fields(self) -> list[str]:
        """The fields of the request that were wrong."""
        said = {} if self.answer is None else _said(self.answer)
        return [error["field"] for error in said.get("errors", ())]


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
        asked = {"source": list(sources), "status": list(statuses)}
        if since is not None:
            asked["updated_since"] = [since.isoformat()]
        return items(self._get, "/conversations/", asked, limit)

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

    def call(self, method: str, path: str, **request: Any) -> requests.Response:
        """Return the answer to any call; `request` is what requests takes. Raises ReadError.

        A 429 or a 503 means that nothing was done. Then the call is made again, a few times, when the server says.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return patiently(lambda: self._try(method, path, **request), self._wait_s)
            except ReadError as error:
                if error.answer is None or error.status not in TO_BE_SENT_AGAIN:
                    raise
                click.echo(f"Not yet ({error}); trying again ...", err=True)
                time.sleep(retry_after_s(error.answer))
        return self._try(method, path, **request)

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return content(patiently(lambda: self._try("GET", path, params=parameters), self._wait_s))

    def _try(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> requests.Response:
        try:
            answer = self._session.request(
                method,
                self.url + path,
                headers=self._headers | dict(headers or {}),
                timeout=TIMEOUTS_S,
                allow_redirects=False,
                **request,
            )
        except requests.ConnectionError as error:
            raise ServerAway(f"nothing answers at {self.url}; name another server with --url") from error
        except (requests.RequestException, ValueError) as error:
            raise ReadError(f"cannot read from {self.url}: {error}") from error
        if answer.status_code // 100 == 2:  # noqa: PLR2004 (what 2xx means)
            return answer
        raise _problem(answer)


def items(
    get: Callable[[str, Mapping[str, Any] | None], Any], path: str, parameters: Mapping[str, Any], limit: int
) -> Iterator[dict[str, Any]]:
    """Yield the first `limit` items of a list, page after page. Raises what `get` raises."""
    page = get(path, {**parameters, "limit": min(limit, PAGE)})
    left = limit
    while True:
        yield from page["items"][:left]
        left -= len(page["items"])
        if left <= 0 or page["next"] is None:
            return
        page = get(page["next"], None)


def content(answer: requests.Response) -> Any:
    """Return what a good answer says. Raises ReadError where it is no JSON."""
    try:
        return answer.json()
    except ValueError as error:
        raise ReadError(
            "what answers there is no Realmate: it sends no JSON; name another server with --url"
        ) from error


def _problem(answer: requests.Response) -> ReadError:
    said = _said(answer)
    try:
        detail = "; ".join(f"{error['field']} {error['message']}" for error in said.get("errors", ())) or said["detail"]
    except KeyError:
        return ReadError(f"the server answered {answer.status_code} {answer.reason}", answer)
    if answer.status_code == requests.codes.gone:
        return CursorExpired(detail, said["oldest"])
    if answer.status_code == requests.codes.service_unavailable:
        return ServerAway(detail, answer)
    if said.get("code") == "token_required":
        detail = "the server wants a token; give one with --token or REALMATE_TOKEN"
    if scope := _scope_of(answer.headers.get("WWW-Authenticate", "")):
        detail = f"this token may not do that: it needs the scope {scope[1]}"
    return ReadError(f"{answer.status_code}: {detail}", answer)


def _said(answer: requests.Response) -> dict[str, Any]:
    """Return a problem's members; none where the answer is no problem."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
