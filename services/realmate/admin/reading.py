"""The commands that read as anybody reads: over HTTP, with a token where the server wants one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from realmate.admin.moments import Moment
from realmate.admin.waiting import wait_option, wait_s
from realmate.domain.changes import EVENT_TYPES

if TYPE_CHECKING:
    from uuid import UUID

    from realmate.admin.api import Api


def _of_a_server(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server is read."""
    options = (
        click.option(
            "--url", default="http://127.0.0.1:8000", show_default=True, envvar="REALMATE_URL", show_envvar=True,
            help="The server.",
        ),
        click.option("--token", envvar="REALMATE_TOKEN", show_envvar=True, help="To read with, where it wants one."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        wait_option(),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command("list")
@click.option("--source", "sources", multiple=True, help="Of this source; can be repeated.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(["OPEN", "CLOSED"]), help="With this status.")
@click.option("--since", type=Moment(), help="Changed since: 2026-01-31T12:00, or 2h (ago).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="So many, the newest first.")
@_of_a_server
def list_conversations(  # noqa: PLR0913 (a command has as many arguments as it has options)
    *,
    sources: tuple[str, ...],
    statuses: tuple[str, ...],
    since: datetime | None,
    limit: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """List the conversations, the one that changed last first.

    \b
    Examples:
      realmate list --status OPEN
      realmate list --source shop --since 2h --limit 1000 --json
    """
    from realmate.admin.tables import show_conversations

    found = _api(url, token).conversations(sources=sources, statuses=statuses, since=since, limit=limit)
    show_conversations(found, as_json=as_json)


@click.command("show")
@click.argument("conversation_id", metavar="ID", type=click.UUID)
@click.option("--source", help="Of this source, where several have a conversation of this id.")
@click.option("--messages", type=click.IntRange(0, 1000), help="The last so many messages alone. Default: all.")
@_of_a_server
def show_conversation(  # noqa: PLR0913 (the same)
    conversation_id: UUID, *, source: str | None, messages: int | None, url: str, token: str | None, as_json: bool
) -> None:
    """Show one conversation with its messages.

    \b
    Example:
      realmate show 6a41b347-8d80-4ce9-84ba-7af66f369f6a --messages 20
    """
    from realmate.admin.tables import show_messages

    show_messages(_api(url, token).conversation(str(conversation_id), source, messages), as_json=as_json)


@click.command("tail")
@click.option("--source", "sources", multiple=True, help="Of this source; can be repeated.")
@click.option("--type", "types", multiple=True, type=click.Choice(EVENT_TYPES), help="Of this type; can be repeated.")
@click.option("--conversation", "conversations", multiple=True, type=click.UUID, metavar="ID", help="Of this one.")
@click.option("--since", type=Moment(), help="What came since: 2026-01-31T12:00, or 2h (ago). Default: from now on.")
@click.option("--after", metavar="CURSOR", help="What came after this cursor, or `oldest`.")
@click.option("--name", help="Remember the place under this name, and go on from there the next time.")
@click.option("--forward-to", metavar="URL", help="POST each event there, signed as Standard Webhooks; in order.")
@click.option("--until-caught-up", is_flag=True, help="Stop when all that there is was told.")
@_of_a_server
def tail(  # noqa: PLR0913 (the same)
    *,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    conversations: tuple[UUID, ...],
    since: datetime | None,
    after: str | None,
    name: str | None,
    forward_to: str | None,
    until_caught_up: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Follow what changes: one line an event, until Ctrl-C.

    With --forward-to, each event is sent on to that URL, and again until it is answered 2xx, before the next one. The
    secret that signs them is made at the first time and printed; --name keeps it together with the place.

    \b
    Examples:
      realmate tail
      realmate tail --source shop --type reply.created --since 10m --json
      realmate tail --name crm --forward-to http://127.0.0.1:3000/hooks
    """
    from realmate.admin.following import Following
    from realmate.admin.tail import follow

    if since is not None and after is not None:
        raise click.UsageError("--since and --after both say where to begin: choose one")
    filters = {"source": list(sources), "type": list(types), "conversation": [str(each) for each in conversations]}
    following = Following(name)
    begin = following.cursor or after or ("oldest" if since is not None else None)
    show = partial(follow, _api(url, token), following, filters, as_json=as_json)
    signal.signal(signal.SIGINT, _end)
    show(begin=begin, since=since, forward_to=forward_to, until_caught_up=until_caught_up)


def _end(*_: object) -> None:
    """End at once, wherever the program is: Python drops an exception that is raised in a finalizer.

    Nothing is lost by it. Each line was flushed, and the place is written in one step.
    """
    os._exit(0)


def _api(url: str, token: str | None) -> Api:
    from realmate.admin.api import Api

    return Api(url, token, wait_s())


COMMANDS: tuple[Any, ...] = (list_conversations, show_conversation, tail)
