"""The command `realmate`. Each command imports what it needs when it runs: `--help` is quick, and `run` must be the
first to touch anything that eventlet patches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

import click

T = TypeVar("T")

SERVICE_NAMES = ("webhook", "conversations", "query")


@contextmanager
def one_line_for(*errors: type[Exception]) -> Iterator[None]:
    """These errors are written for a person: show their message alone, exit code 1."""
    try:
        yield
    except errors as error:
        raise click.ClickException(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="realmate", prog_name="realmate")
def main() -> None:
    """Realmate keeps WhatsApp-style conversations: events come in by webhook, messages typed in bursts are grouped,
    and each group is answered once.

    \b
    First steps:
      realmate up                     start everything on this machine: http://127.0.0.1:8000
      realmate send                   play a small conversation against it, in another terminal
      realmate send events.jsonl      or send your own events, one JSON object a line

    \b
    As pods do it, with stores of your own:
      export DATABASE_URL=postgresql://user:password@host/database REDIS_URL=redis://host:6379/0
      realmate migrate                once for each version
      realmate run webhook            one service a process; several replicas of each are fine

    Every setting is an environment variable (PORT, HOST, DATABASE_URL, GROUP_WINDOW_S, LOG_LEVEL, …); the README lists
    them all.
    """


@main.command()
@click.option("--exit-with-parent", is_flag=True, help="Stop when the process that started this one dies.")
def up(*, exit_with_parent: bool) -> None:
    """Start everything on this machine and serve it on one port.

    \b
    PORT, HOST           where to listen (127.0.0.1:8000)
    REALMATE_DATA_DIR    where the embedded stores keep their data (.realmate); it survives a restart
    DATABASE_URL         use this PostgreSQL instead of the embedded one
    REDIS_URL            use this Redis or Valkey instead of the embedded one
    TRANSPORT_URL        carry commands over this broker instead, such as amqp://user:password@host:5672//

    Ctrl-C stops it all; a second Ctrl-C does so at once.
    """
    from realmate.local.child import LocalError
    from realmate.local.supervisor import run
    from realmate.runtime.settings import SettingsError, load

    with one_line_for(LocalError, SettingsError):
        sys.exit(run(load(), exit_with_parent=exit_with_parent))


@main.command()
@click.option("--wait", "wait_s", default=10.0, show_default=True, help="Seconds to wait for a starting database.")
def migrate(wait_s: float) -> None:
    """Bring the database at DATABASE_URL to this version's schema. Safe to run twice, and at the same time."""
    from realmate.migrations.runner import DatabaseUnreachable, upgrade
    from realmate.runtime.settings import SettingsError, load

    with one_line_for(SettingsError):
        url = load().database
    with one_line_for(DatabaseUnreachable):
        done = _patiently(lambda: upgrade(url), DatabaseUnreachable, wait_s)
    if done.is_ahead:
        click.echo(f"The database is that of a later version ({done.after}), which serves this one too: nothing to do.")
    elif done.before == done.after:
        click.echo(f"The database is up to date ({done.after}).")
    else:
        click.echo(f"The database is migrated: {done.before or 'empty'} → {done.after}.")


def _patiently(attempt: Callable[[], T], passing: type[Exception], patience_s: float) -> T:
    """What `attempt` returns, tried again for `patience_s` while it raises `passing`."""
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return attempt()
        except passing as error:
            if time.monotonic() >= give_up_at:
                raise
            click.echo(f"Not yet ({error}); trying again ...", err=True)
            time.sleep(1)


@main.command()
@click.argument("services", nargs=-1, required=True, type=click.Choice(SERVICE_NAMES), metavar="SERVICE...")
def run(services: tuple[str, ...]) -> None:
    """Run services in this process, as a pod does: webhook, conversations, query.

    Usually one a process. Several share the process and its port: `realmate run webhook query`.
    """
    from realmate.runtime import green

    green.patch()  # before these imports, which bring the whole world in

    from realmate.runtime.runner import StartError, serve
    from realmate.runtime.settings import SettingsError

    with one_line_for(StartError, SettingsError):
        sys.exit(serve(list(dict.fromkeys(services))))


@main.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server.")
@click.option("--say", multiple=True, metavar="TEXT", help="What to say in the played conversation; can be repeated.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second, at most.")
def send(file: BinaryIO | None, url: str, say: tuple[str, ...], rate: float | None) -> None:
    """Send events to a server and show each answer: the friendly way to try one.

    Without FILE a small conversation is played: it opens, says three things in a burst, waits for the reply, and
    closes. With a FILE of JSON lines (or - for stdin) each line is sent as it is, and the server judges it. The exit
    code is 1 when any answer was not 2xx.

    \b
    Examples:
      realmate send
      realmate send --say "Oi" --say "Tem apartamento com varanda?"
      realmate send events.jsonl --rate 50
      echo '{"type": "CLOSE_CONVERSATION", …}' | realmate send -
    """
    from realmate.sender import SendError, converse, replay

    if file is not None and say:
        raise click.UsageError("--say plays a conversation and FILE sends events: choose one")
    with one_line_for(SendError):
        well = converse(url, say) if file is None else replay(url, file, rate=rate)
    sys.exit(0 if well else 1)
