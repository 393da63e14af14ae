"""Plays the sender of the webhook: `realmate send`, for people who try a server, and for scripts that feed it.

It judges nothing: lines go out as they are, and what the server answers is shown. It acts on two answers alone, 503 and
429, whose meaning is "nothing was done, send it again".
"""

from __future__ import annotations

import codecs
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click
import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from realmate.admin.waiting import patiently
from realmate.errors import UserError
from realmate.sources.model import DEFAULT, Source
from realmate.wire.printable import printable_line
from realmate.wire.webhook import InvalidEvent, InvalidJson, named_type

BURST = (
    "Olá, tudo bem?",
    "Quero alugar um apartamento com varanda.",
    "Pode ser no centro, até R$ 3.000.",
)
PAUSE_BETWEEN_MESSAGES_S = 0.3
REPLY_PATIENCE_S = 60.0
TIMEOUTS_S = (5.0, 30.0)
"""How long to wait for a connection, and for a response."""
ATTEMPTS = 5
TO_BE_SENT_AGAIN = {requests.codes.service_unavailable, requests.codes.too_many_requests}
LONGEST_RETRY_AFTER_S = 10.0
ANYONE = Source(DEFAULT)
"""The source that signs nothing."""


class SendError(UserError):
    """The events cannot be sent; the message says why and what to do, for a person."""


class NothingAnswers(SendError):
    """No connection could be made, so nothing was sent."""

    may_pass = True


class Server:
    """A Realmate server, as a sender and a reader see it."""

    def __init__(self, url: str, *, read_url: str | None = None, token: str | None = None, wait_s: float = 0.0) -> None:
        """`read_url` is where GETs go, if not there; `token` is the reader's, where the server wants one.

        `wait_s` is how long a request waits for a server to which no connection can be made.
        """
        self._wait_s = wait_s
        self.url = url.rstrip("/")
        self._read_url = (read_url or url).rstrip("/")
        self._reader = {} if token is None else {"Authorization": f"Bearer {clean_token(token)}"}
        self._session = session_for(self.url)

    def post(self, event: bytes, *, source: Source = ANYONE, key: str | None = None) -> requests.Response:
        """The answer to one event of `source`, signed as it signs; `key` is an idempotency key.

        To a 503 or 429, the answer to the last of a few attempts. Raises SendError.
        """
        url = f"{self.url}/webhook/" if source.name == DEFAULT else f"{self.url}/webhook/{source.name}/"
        for _ in range(ATTEMPTS - 1):
            answer = self._request("POST", url, event, _headers(event, source, key))
            if answer.status_code not in TO_BE_SENT_AGAIN:
                return answer
            time.sleep(retry_after_s(answer))
        return self._request("POST", url, event, _headers(event, source, key))

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        """Return the conversation as a reader sees it. Raises SendError."""
        answer = self._request("GET", f"{self._read_url}/conversations/{conversation_id}/", None, self._reader)
        if not answer.ok:
            raise SendError(f"the conversation cannot be read: {answer.status_code} {_said(answer)}")
        found: dict[str, Any] = answer.json()
        return found

    def _request(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> requests.Response:
        return patiently(lambda: self._try(method, url, body, headers), self._wait_s)

    def _try(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> requests.Response:
        try:
            return self._session.request(
                method, url, data=body, headers=headers, timeout=TIMEOUTS_S, allow_redirects=False
            )
        except requests.ConnectionError as error:
            kind = NothingAnswers if _is_not_connected(error) else SendError
            server = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
            raise kind(
                f"nothing answers at {server}; start it with `make run`, or name another server with --url"
            ) from error
        except (requests.RequestException, ValueError) as error:  # a timeout, or a URL that is none
            raise SendError(f"cannot send to {self.url}: {error}") from error


def _is_not_connected(error: requests.ConnectionError) -> bool:
    """Tell whether not even a connection was made: the name is unknown, or nobody listens, or packets are dropped."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def session_for(url: str) -> requests.Session:
    """Return a session for a server. A proxy from the environment is for the world outside, never for this machine.

    Raises SendError.
    """
    session = requests.Session()
    session.trust_env = _host(url) not in {"127.0.0.1", "::1", "localhost"}
    return session


def _host(url: str) -> str | None:
    """Raises SendError."""
    try:
        return urlsplit(url).hostname
    except ValueError as error:
        raise SendError(f"{url} is no URL: {error}") from None


def clean_token(token: str) -> str:
    """Return the token without a line end from a file. Raises SendError, which does not show the token."""
    cleaned = token.strip()
    if not (cleaned.isascii() and cleaned.isprintable()) or " " in cleaned:
        raise SendError("the token has other characters than a token's: it is one word, as `realmate token` made it")
    return cleaned


def _headers(event: bytes, source: Source, key: str | None) -> dict[str, str]:
    """Return the headers of one attempt. Each attempt needs its own, because a signature expires."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    if source.verifier is not None:
        headers |= source.verifier.sign(event, key or f"msg_{uuid.uuid4().hex}", time.time())
    return headers


def converse(server: Server, source: Source = ANYONE, contents: Sequence[str] = ()) -> bool:
    """Play one conversation and show it; return whether every event was welcome. Raises SendError."""
    conversation_id = str(uuid.uuid4())
    click.echo(f"Conversation {conversation_id} at {server.url}\n")
    welcome = _play(server, source, "NEW_CONVERSATION", {"id": conversation_id})
    for content in contents or BURST:
        message = {"id": str(uuid.uuid4()), "content": content, "conversation_id": conversation_id}
        welcome &= _play(server, source, "NEW_MESSAGE", message)
        time.sleep(PAUSE_BETWEEN_MESSAGES_S)
    if welcome:
        _await_reply(server, conversation_id)
    welcome &= _play(server, source, "CLOSE_CONVERSATION", {"id": conversation_id})
    if welcome:
        _show_conversation(server.conversation(conversation_id))
    return welcome


def replay(server: Server, lines: Iterable[bytes], source: Source = ANYONE, *, rate: float | None = None) -> bool:
    """Send each line that is not blank, `rate` a second at most; return whether all were welcome. Raises SendError."""
    statuses: Counter[int] = Counter()
    for number, line in _paced(lines, rate):
        answer = server.post(line, source=source)
        statuses[answer.status_code] += 1
        click.echo(f"{number:>6}  {printable_line(_event_type(line)):18}  {_verdict(answer)}")
    counts = ", ".join(f"{count} answered {status}" for status, count in sorted(statuses.items()))
    click.echo(f"\n{statuses.total()} sent" + (f": {counts}" if counts else ""))
    return all(_is_welcome(status) for status in statuses)


def _paced(lines: Iterable[bytes], rate: float | None) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers, no faster than `rate` a second."""
    due_at = time.monotonic()
    for number, given in enumerate(lines, start=1):
        line = (_without_mark(given) if number == 1 else given).strip()
        if not line:
            continue
        if rate is not None:
            time.sleep(max(0.0, due_at - time.monotonic()))
            due_at = max(due_at, time.monotonic() - 1) + 1 / rate  # after a stall, catch up on a second at most
        yield number, line


def _without_mark(line: bytes) -> bytes:
    """A file's first line without its byte order mark. Raises SendError where the mark says that it is in UTF-16."""
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SendError("the events are in UTF-16; save them in UTF-8")
    return line.removeprefix(codecs.BOM_UTF8)


def _play(server: Server, source: Source, kind: str, data: dict[str, str]) -> bool:
    event = {"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}
    answer = server.post(json.dumps(event).encode(), source=source)
    click.echo(f"  → {printable_line(data.get('content', kind)):45}  {_verdict(answer, with_body=False)}")
    return _is_welcome(answer.status_code)


def _await_reply(server: Server, conversation_id: str) -> None:
    click.echo("\n  The reply comes when 5 s pass in silence ", nl=False)
    started_at = time.monotonic()
    while not any(message["type"] == "OUTBOUND" for message in server.conversation(conversation_id)["messages"]):
        if time.monotonic() - started_at > REPLY_PATIENCE_S:
            raise SendError(f"no reply within {REPLY_PATIENCE_S:g} s; is the conversations service running?")
        time.sleep(0.5)
        click.echo(".", nl=False)
    click.echo(f" it came {time.monotonic() - started_at:.1f} s later.\n")


def _show_conversation(conversation: dict[str, Any]) -> None:
    click.echo(f"\nThe conversation as anybody reads it now ({conversation['status']}):\n")
    for message in conversation["messages"]:
        inbound = message["type"] == "INBOUND"
        click.secho(printable_line(f"  {message['timestamp']}  {message['type']}"), fg="cyan" if inbound else "green")
        for line in message["content"].splitlines():
            click.echo(f"      {printable_line(line)}")


def _verdict(answer: requests.Response, *, with_body: bool = True) -> str:
    """Status and meaning of an answer, in the colour of its kind."""
    said = printable_line(_said(answer, with_body=with_body))
    return click.style(f"{answer.status_code} {said}", fg="green" if _is_welcome(answer.status_code) else "red")


def _said(answer: requests.Response, *, with_body: bool = True) -> str:
    """A problem's code and what is wrong; of a success the body, or its status alone; of anything else the text."""
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        return answer.text.strip().partition("\n")[0]
    if isinstance(body, dict) and "code" in body:
        errors = [error for error in _list(body.get("errors")) if isinstance(error, dict)]
        fields = [f"{error.get('field')}: {error.get('message')}" for error in errors]
        return f"{body['code']}: {'; '.join(fields) or body.get('detail', '')}"
    if isinstance(body, dict) and "status" in body and not with_body:
        return str(body["status"])
    return json.dumps(body, ensure_ascii=False)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _event_type(line: bytes) -> str:
    """Return the event type that the line names. The server decides whether it is an event."""
    try:
        return named_type(line) or "(no type)"
    except InvalidJson:
        return "(not JSON)"
    except InvalidEvent:
        return "(no object)"


def _is_welcome(status: int) -> bool:
    return 200 <= status <= 299  # noqa: PLR2004 (what 2xx means)


def retry_after_s(answer: requests.Response) -> float:
    """Seconds to wait, as the server asks, within reason; a second where it names none (RFC 9110, 10.2.3)."""
    header = answer.headers.get("Retry-After", "")
    return min(float(header), LONGEST_RETRY_AFTER_S) if header.isdecimal() else 1.0
