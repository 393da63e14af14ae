"""The command `realmate`. Each command imports what it needs when it runs: `--help` is quick, and `run` must be the
first to touch anything that eventlet patches.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from realmate.admin.endpoint_commands import COMMANDS as ENDPOINTS
from realmate.admin.operating import COMMANDS as OPERATING
from realmate.admin.operating import RATE, configured_sources
from realmate.admin.reading import COMMANDS as READING
from realmate.admin.waiting import patiently, wait_option, wait_s
from realmate.errors import UserError
from realmate.wire.printable import printable

if TYPE_CHECKING:
    from realmate.sources.file import Sources
    from realmate.sources.model import Source

SERVICE_NAMES = ("webhook", "conversations", "query", "deliveries", "console")


def _message_of(error: Exception) -> str:
    """Return the message in one line. (An OSError's own text begins with its number.)"""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class Commands(click.Group):
    """The commands. An error that a person can mend is shown as one line, and the exit code is 1."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command. A character that the terminal's encoding has not is written as `\\u2192`."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        warnings.filterwarnings(
            "ignore", r"\s*Eventlet is deprecated"
        )  # it is known (docs/adr/0001), and no user's matter
        return super().main(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (UserError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # click ends quietly then
                raise
            raise click.ClickException(printable(_message_of(error))) from error


def _database_url() -> str | None:
    """Return DATABASE_URL, or else the URL of the database of `realmate up` on this machine, or else None."""
    from realmate.local.postgres import running_url
    from realmate.runtime.settings import load

    settings = load()
    return settings.database_url or running_url(settings.realmate_data_dir / "postgres")


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "obj": _database_url}


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="realmate", prog_name="realmate")
def main() -> None:
    """Realmate keeps WhatsApp-style conversations: events come in by webhook, messages typed in bursts are grouped,
    and each group is answered once.

    \b
    First steps:
      realmate up                     start everything on this machine: http://127.0.0.1:8000
      realmate send                   play a small conversation against it, in another terminal
      realmate send events.jsonl      or send your own events, one JSON object a line
      realmate list                   the conversations; `realmate show ID` shows one, and `realmate tail` what changes

    \b
    As pods do it, with stores of your own:
      export DATABASE_URL=postgresql://user:password@host/database REDIS_URL=redis://host:6379/0
      realmate migrate                once for each version
      realmate run webhook            one service a process; several replicas of each are fine

    Every setting is an environment variable (PORT, HOST, DATABASE_URL, GROUP_WINDOW_S, LOG_LEVEL, …); the README lists
    them all.
    """


for _command in (*READING, *OPERATING, *ENDPOINTS):
    main.add_command(_command)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete the commands and options of realmate.

    \b
    Examples:
      echo 'eval "$(realmate completion bash)"' >> ~/.bashrc
      echo 'eval "$(realmate completion zsh)"' >> ~/.zshrc
      realmate completion fish > ~/.config/fish/completions/realmate.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is not None:
        click.echo(complete(main, {}, "realmate", "_REALMATE_COMPLETE").source())


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
    from realmate.local.supervisor import run
    from realmate.runtime.settings import load

    sys.exit(run(load(), exit_with_parent=exit_with_parent))


@main.command()
@wait_option(default_s=10.0)
def migrate() -> None:
    """Bring the database at DATABASE_URL to this version's schema. Safe to run twice, and at the same time.

    The roles of DATABASE_WRITER_URL (conversations) and DATABASE_READER_URL (query) are made, and given the rights that
    these services need and no other (docs/privileges.md). Where this may not be done, a line says so.
    """
    from realmate.migrations.roles import logins
    from realmate.migrations.runner import upgrade
    from realmate.runtime.settings import load

    settings = load()
    url, roles = settings.database, logins(settings.database_writer_url, settings.database_reader_url)
    done = patiently(lambda: upgrade(url, roles), wait_s())
    if done.is_ahead:
        click.echo(f"The database is that of a later version ({done.after}), which serves this one too: nothing to do.")
    elif done.before == done.after:
        click.echo(f"The database is up to date ({done.after}).")
    else:
        click.echo(f"The database is migrated: {done.before or 'empty'} → {done.after}.")
    for line in done.rejected:
        click.echo(line, err=True)


@main.command()
@click.argument("services", nargs=-1, required=True, type=click.Choice(SERVICE_NAMES), metavar="SERVICE...")
def run(services: tuple[str, ...]) -> None:
    """Run services in this process, as a pod does: webhook, conversations, query, deliveries, console.

    Usually one a process. Several share the process and its port: `realmate run webhook query`.
    """
    from realmate.runtime import cooperation

    cooperation.patch()  # before these imports, which bring the whole world in

    from realmate.serve import serve

    sys.exit(serve(list(dict.fromkeys(services))))


@main.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server.")
@click.option("--read-url", help="Where to read the conversation, if not there.")
@click.option("--say", multiple=True, metavar="TEXT", help="What to say in the played conversation; can be repeated.")
@click.option("--rate", type=RATE, help="Events a second, at most.")
@click.option(
    "--source", "name", help="As which source; SOURCES_FILE signs. Default: default, or the only one there is."
)
@click.option("--token", envvar="REALMATE_TOKEN", show_envvar=True, help="To read with, where it wants one.")
@wait_option()
def send(
    file: BinaryIO | None,
    *,
    url: str,
    read_url: str | None,
    say: tuple[str, ...],
    rate: float | None,
    name: str | None,
    token: str | None,
) -> None:
    """Send events to a server and show each answer: the friendly way to try one.

    Without FILE a small conversation is played: it opens, says three things in a burst, waits for the reply, and
    closes. With a FILE of JSON lines (or - for stdin) each line is sent as it is, and the server judges it. The exit
    code is 1 when any answer was not 2xx.

    \b
    Examples:
      realmate send
      realmate send --say "Oi" --say "Tem apartamento com varanda?"
      realmate send events.jsonl --rate 50
      SOURCES_FILE=sources.toml realmate send --source shop
      echo '{"type": "CLOSE_CONVERSATION", …}' | realmate send -
    """
    from realmate.admin.client import Server, converse, replay
    from realmate.sources.model import Source

    if file is not None and say:
        raise click.UsageError("--say plays a conversation and FILE sends events: choose one")
    source = _only(configured_sources()) if name is None else configured_sources().get(name) or Source(name)
    server = Server(url, read_url=read_url, token=token, wait_s=wait_s())
    well = converse(server, source, say) if file is None else replay(server, file, source, rate=rate)
    sys.exit(0 if well else 1)


@main.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "operate", "admin"]), help="Default: read."
)
@click.option(
    "--source", "sources", multiple=True, help="Whose conversations it may read; can be repeated. Default: all."
)
def token(name: str, scopes: tuple[str, ...], sources: tuple[str, ...]) -> None:
    """Make a token for NAME: itself goes to stderr, what TOKENS_FILE is to know of it to stdout.

    The server keeps nothing of it but a hash: shown now, it is never shown again.

    \b
    Examples:
      realmate token dashboard >> tokens.toml
      realmate token prometheus --scope admin >> tokens.toml
      realmate token shop --source shop >> tokens.toml
    """
    from realmate.sources import tokens

    made = tokens.make()
    entry = tokens.entry(name, made, scopes or ("read",), sources)
    click.echo(entry)
    click.echo(f"The token, shown only now: {made}", err=True)


@main.group()
def operator() -> None:
    """The Kubernetes operator: WebhookSources and EventReplays (docs/kubernetes.md). The chart runs it."""


@operator.command("run")
def run_operator() -> None:
    """Run it, in the cluster of KUBECONFIG or in the one that this pod is in.

    \b
    OPERATOR_NAMESPACE       serve this namespace alone; without it, all of them
    OPERATOR_INTERVAL_S      seconds between two reconciles, if nothing happens (15)
    OPERATOR_METRICS_TOKEN   a token of scope admin, where TOKENS_FILE guards the pods' metrics
    HOST, PORT               of /healthz (127.0.0.1:8000)
    ADMIN_PORT               of /metrics (9000)
    """
    from realmate.kube_operator.handlers import run

    run()


@operator.command("release")
@click.option("--namespace", required=True, help="Whose WebhookSources.")
@click.option("--deployment", required=True, help="The operator's own, which is scaled to nothing before.")
@wait_option()
def release_finalizers(namespace: str, deployment: str) -> None:
    """Let go of all WebhookSources before the operator is uninstalled, so that they can be deleted without it.

    What `deletionPolicy: Erase` promised is not kept then: erase by hand (realmate erase source NAME).
    """
    from realmate.kube_operator.release import release

    patiently(lambda: release(namespace, deployment, tell=click.echo), wait_s())


def _only(sources: Sources) -> Source:
    """The source that is meant by who names none."""
    from realmate.sources.model import DEFAULT

    if DEFAULT in sources or len(sources) == 1:
        return sources.get(DEFAULT) or next(iter(sources.values()))
    names = ", ".join(sources) or "none that is enabled"
    raise click.UsageError(f"SOURCES_FILE closes the default source; say which one you are with --source: {names}")
