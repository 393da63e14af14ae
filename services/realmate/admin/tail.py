"""`realmate tail`: what changes, one line an event; and its way to somebody else's webhook."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import requests

from realmate.admin.api import Api, CursorExpired, ReadError, ServerAway
from realmate.admin.client import session_for
from realmate.admin.following import Following
from realmate.admin.tables import event_line
from realmate.sources.signing import StandardWebhooks
from realmate.wire.printable import printable_json

POLL_S = 25.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
FORWARD_TIMEOUTS_S = (5.0, 30.0)


def follow(  # noqa: PLR0913 (the options of the command)
    api: Api,
    following: Following,
    filters: Mapping[str, Sequence[str]],
    *,
    as_json: bool,
    begin: str | None,
    since: datetime | None,
    forward_to: str | None,
    until_caught_up: bool,
) -> None:
    """Show the events, and send them on, until all is told, or for ever. Raises ReadError."""
    forward = None if forward_to is None else Forwarder(forward_to, following)
    cursor, pause_s, has_read = begin, FIRST_PAUSE_S, False
    while True:
        try:
            page = api.changes(cursor, filters, wait_s=0 if until_caught_up or not has_read else POLL_S)
        except CursorExpired as expired:
            click.echo(f"Some events are not kept any more, and are missing here. ({expired})", err=True)
            cursor = expired.oldest
            continue
        except ServerAway as away:
            if not has_read:
                raise
            pause_s = _pause(f"{away}; trying again", pause_s)
            continue
        has_read, pause_s = True, FIRST_PAUSE_S
        for event in page["items"]:
            if since is None or datetime.fromisoformat(event["timestamp"]) >= since:
                click.echo(printable_json(json.dumps(event, ensure_ascii=False)) if as_json else event_line(event))
                if forward is not None:
                    forward.send(event)
        cursor = page["cursor"]
        following.move(cursor)
        if until_caught_up and page["caught_up"]:
            return


class Forwarder:
    """Sends each event to a URL until it is answered 2xx."""

    def __init__(self, url: str, following: Following) -> None:
        """Print the secret where it is new. Raises ReadError for what is no URL."""
        if not url.startswith(("http://", "https://")):
            raise ReadError(f"--forward-to: {url} is no http URL")
        secret, is_new = following.secret()
        if is_new:
            click.echo(f"The secret that signs what is sent to {url}: {secret}", err=True)
        self._url = url
        self._signing = StandardWebhooks([secret])
        self._session = session_for(url)

    def send(self, event: Mapping[str, Any]) -> None:
        """Return when it is answered 2xx. The receiver knows a repetition by `webhook-id`, the event's id."""
        body = json.dumps(event, ensure_ascii=False).encode()
        pause_s = FIRST_PAUSE_S
        while True:
            headers = {"Content-Type": "application/json", **self._signing.sign(body, event["id"], time.time())}
            try:
                answer = self._session.post(
                    self._url, data=body, headers=headers, timeout=FORWARD_TIMEOUTS_S, allow_redirects=False
                )
                if answer.ok and not answer.is_redirect:
                    return
                said = f"{answer.status_code} {answer.reason}"
            except requests.RequestException as error:
                said = type(error).__name__
            pause_s = _pause(f"{self._url} did not take {event['id']} ({said}); sending it again", pause_s)


def _pause(why: str, pause_s: float) -> float:
    """Wait, and return how long to wait the next time."""
    click.echo(f"{why} in {pause_s:g} s ...", err=True)
    time.sleep(pause_s)
    return min(2 * pause_s, LONGEST_PAUSE_S)
