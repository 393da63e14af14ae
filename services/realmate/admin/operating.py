"""The commands for whoever operates a Realmate: at its console, over HTTP, or at its database.

`realmate.cli` puts into the context's `obj` how the database's URL is found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from realmate.admin.moments import Moment
from realmate.admin.waiting import patiently, wait_option, wait_s
from realmate.errors import UserError

if TYPE_CHECKING:
    from uuid import UUID

    from realmate.admin.operations import Operations
    from realmate.admin.rejections import Filter
    from realmate.sources.file import Sources

SERVER = "http://127.0.0.1:8000"
RATE = click.FloatRange(min=0.001)
PATH = click.Path(dir_okay=False, path_type=Path)
PORT = click.IntRange(1, 65535)
LARGEST_NUMBER = 2**63 - 1

TOKEN = click.option("--token", envvar="REALMATE_TOKEN", show_envvar=True, help="For the console, where it wants one.")


class NoPlace(UserError):
    """It is not said which Realmate is meant."""


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


AT_A_CONSOLE = _options(
    click.option("--url", help="The console, as in http://127.0.0.1:8000. Default: the database at DATABASE_URL."),
    TOKEN,
    wait_option(),
)
FILTER = _options(
    click.option("--source", help="Of this source."),
    click.option("--code", "codes", multiple=True, help="With this code, as in hold_expired; can be repeated."),
    click.option("--since", type=Moment(), help="Not before: 2026-01-31T12:00, or 2h (ago)."),
    click.option("--until", type=Moment(), help="Before: 2026-01-31T12:00, or 2h (ago)."),
    click.option("--conversation", type=click.UUID, metavar="ID", help="About this conversation."),
)
"""The options that say which rejections are meant."""


@click.group()
def rejections() -> None:
    """Look at what was rejected, and at the messages that expired.

    With --url the console there is asked, and without it the database at DATABASE_URL, or that of `realmate up` here.
    """


@rejections.command("list")
@FILTER
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="So many, the newest ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@AT_A_CONSOLE
def list_rejections(*, limit: int, as_json: bool, url: str | None, token: str | None, **which: Any) -> None:
    """List the newest ones, the very newest last.

    With --json each has its event, too. The console gives these one by one, and writes down for whom.

    \b
    Examples:
      realmate rejections list --source shop --since 2h
      realmate rejections list --code invalid_event --code invalid_json --limit 1000 --json
      realmate rejections list --url https://console.example.com
    """
    from realmate.admin.terminal import show_list

    with _operations(url, token) as operations:
        show_list(operations, _filter(**which), limit=limit, as_json=as_json)


@rejections.command("show")
@click.argument("number", type=click.IntRange(1, LARGEST_NUMBER))
@click.option("--body", "body_only", is_flag=True, help="The event alone, as it can be sent again.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@AT_A_CONSOLE
def show_rejection(number: int, *, body_only: bool, as_json: bool, url: str | None, token: str | None) -> None:
    """Show one with its event."""
    from realmate.admin.terminal import show_one

    with _operations(url, token) as operations:
        show_one(operations, number, body_only=body_only, as_json=as_json)


@click.command("replay")
@FILTER
@click.option("--send", "really", is_flag=True, help="Send them; without it nothing is sent, only counted.")
@click.option("--again", is_flag=True, help="Also those that were replayed already.")
@click.option("--rate", type=RATE, default=50.0, show_default=True, help="Events a second, at most.")
@click.option("--url", default=SERVER, show_default=True, help="The server that events are sent to, or the console.")
@click.option(
    "--report", type=PATH, help="Leave the outcome there, as JSON; the exit code says only if it was reached."
)
@click.option("--report-port", type=PORT, help="Tell the progress there, as JSON over HTTP.")
@TOKEN
@wait_option()
def replay(  # noqa: PLR0913 (a command has as many arguments as it has options)
    *,
    really: bool,
    again: bool,
    rate: float,
    url: str,
    report: Path | None,
    report_port: int | None,
    token: str | None,
    **which: Any,
) -> None:
    """Send again what was rejected or expired, where that can bring another answer.

    With DATABASE_URL, this command reads the rejections there and sends the events to --url. Without DATABASE_URL, or
    with --token, the console at --url does all of it.

    Without --send it only says what it would do. Each event is marked when it is answered, and carries an idempotency
    key until then: interrupted, the command goes on where it was. A message whose id is taken, as an expired one's is,
    gets a new id. SOURCES_FILE says with which secrets to sign. The exit code is 1 when any answer was not 2xx. The
    console has its own SOURCES_FILE, and goes on by itself when the command is interrupted.

    \b
    Examples:
      realmate replay --source shop --code expired --since 1d
      realmate replay --source shop --code expired --since 1d --send --rate 20
      realmate replay --url https://console.example.com --token "$TOKEN" --source shop --send
    """
    from realmate.admin import terminal
    from realmate.admin.report import Report, published

    console = url if _means_a_console() else None
    progress = Report()
    meant = _filter(**which)._replace(unreplayed=not again)
    with published(progress, report_port, report), _operations(console, token, server=url) as operations:
        well = terminal.replay(operations, meant, progress, rate=rate, send=really)
    sys.exit(0 if well or report is not None else 1)


def _means_a_console() -> bool:
    """Tell whether the --url of a replay is a console's."""
    from realmate.runtime.settings import load

    return _is_given("token") or (_is_given("url") and load().database_url is None)


@click.group()
def erase() -> None:
    """Erase one conversation, or all of a source, now.

    With --url the console there does it, and without it this command, at DATABASE_URL or where `realmate up` runs.

    How long closed conversations are kept is a setting of each source: retention.closed_days in SOURCES_FILE.
    """


@erase.command("conversation")
@click.argument("conversation_id", type=click.UUID, metavar="ID")
@click.option("--source", default="default", show_default=True, help="Whose it is.")
@AT_A_CONSOLE
@click.confirmation_option(prompt="It cannot be brought back. Erase it?")
def erase_conversation(conversation_id: UUID, source: str, *, url: str | None, token: str | None) -> None:
    """Erase a conversation with its messages, and what was rejected about it."""
    from realmate.admin import erasing

    with _operations(url, token) as operations:
        erasing.conversation(operations, source, str(conversation_id))


@erase.command("source")
@click.argument("name")
@click.option("--if-exists", is_flag=True, help="No error where there is nothing of it.")
@AT_A_CONSOLE
@click.confirmation_option(prompt="Nothing of it can be brought back. Erase all that this source ever sent?")
def erase_source(name: str, *, if_exists: bool, url: str | None, token: str | None) -> None:
    """Erase all that a source ever sent. Close it first (enabled = false): what it sends meanwhile may stay.

    In small portions, which disturb nobody. Interrupted, it goes on when it is run again; a console goes on by itself.
    """
    from realmate.admin import erasing

    with _operations(url, token) as operations:
        erasing.whole_source(operations, name, if_exists=if_exists)


@erase.command("history")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="So many, the newest ones.")
@AT_A_CONSOLE
def erase_history(limit: int, *, url: str | None, token: str | None) -> None:
    """List what was erased, by retention or by hand; the newest last."""
    from realmate.admin import erasing

    with _operations(url, token) as operations:
        erasing.history(operations, limit)


@click.command("export")
@click.argument("conversation_id", type=click.UUID)
@click.option("--source", default="default", show_default=True, help="Whose it is.")
@click.option("--output", type=PATH, metavar="FILE", help="Write it there. Default: stdout.")
@AT_A_CONSOLE
def export(conversation_id: UUID, *, source: str, output: Path | None, url: str | None, token: str | None) -> None:
    """Write all that is kept about a conversation as JSON: its messages, and what was rejected about it.

    With --url the console there is asked, and without it the database at DATABASE_URL, or that of `realmate up` here.

    \b
    Example:
      realmate export 6a41b347-8d80-4ce9-84ba-7af66f369f6a --source shop --output conversation.json
    """
    from realmate.admin import terminal

    with _operations(url, token) as operations:
        terminal.export(operations, source, str(conversation_id), output)


def configured_sources() -> Sources:
    """Return the sources that SOURCES_FILE names now."""
    from realmate.runtime.settings import load
    from realmate.sources.file import read_sources

    return read_sources(load().sources_file)


def _filter(source: str | None, codes: tuple[str, ...], since: Any, until: Any, conversation: Any) -> Filter:
    from realmate.admin.rejections import Filter

    return Filter(source, codes, since, until, None if conversation is None else str(conversation))


@contextmanager
def _operations(console: str | None, token: str | None, *, server: str = SERVER) -> Iterator[Operations]:
    """Yield the operations of a console, or else those at the database, whose replays go to `server`."""
    if _is_given("token") and not _is_given("url"):
        raise NoPlace("--token is for a console; say with --url where it is")
    if console is not None:
        from realmate.admin.api import Api
        from realmate.admin.by_console import ByConsole

        yield ByConsole(Api(console, token, wait_s()))
        return
    from realmate.admin.by_database import ByDatabase
    from realmate.admin.client import Server
    from realmate.admin.database import opened, reach

    url = click.get_current_context().obj()
    if url is None:
        raise NoPlace("DATABASE_URL is not set, and no `realmate up` runs here; set it, or name a console with --url")
    patiently(lambda: reach(url), wait_s())
    with opened(url) as engine:
        yield ByDatabase(engine, Server(server, wait_s=wait_s()), configured_sources)


def _is_given(option: str) -> bool:
    """Tell whether an option is in the command's line. (A variable may be there for other commands.)"""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


COMMANDS: tuple[Any, ...] = (rejections, replay, erase, export)
