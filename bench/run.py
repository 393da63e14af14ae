"""`make bench`: what Realmate does on this machine, section by section. README.md says how to read it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg2
import requests

import wrk
from bench import Options
from findings import Findings, Result
from installation import BenchError
from machine import machine
from table import table

HERE = Path(__file__).resolve().parent
SECTIONS = {
    "rates": "events a second by connections, beside pgbench with the same statements",
    "reads": "GETs of one conversation, beside pgbench selecting the same",
    "lists": "pages of 50 out of 1,000,000 conversations: one reader, 64 readers, page 1,000",
    "rejections": "pages of /admin/rejections/ out of 1,000,000, with each filter",
    "page": "the console in Chromium: its weight, its start, how late it shows a change, 200 changes a second",
    "streams": "what 2,000 idle streams cost, and how late streams are told",
    "deliveries": "webhooks to an endpoint: how late at 300 events a second, how many a second, what backlogs cost",
    "catching-up": "one stream from the oldest change on",
    "latency": "at a fixed rate: 30, 50, 70 and 90 % of the peak",
    "replies": "how late replies are with 100,000 groups due over 10 s",
    "long": "a message to a conversation of 100,000, beside one to a new one",
    "sources": "what a signature, a limit and an idempotency key add to an event",
    "neighbours": "what a source feels of another one, over its limit or without one",
    "fairness": "how late a source's replies are while all that another one has piled up falls due",
    "growth": "the rate with 10,000,000 messages stored, beside empty tables (10 minutes)",
    "soak": "memory over an hour at half the peak",
}
BY_DEFAULT = ("rates", "reads", "latency", "replies", "long")


def measure(section: str, options: Options, output: Path) -> None:
    find: Callable[[Options], Findings] = import_module(f"sections.{section.replace('-', '_')}").find
    click.echo(f"\n{section}: {SECTIONS[section]}")
    taken_at = datetime.now(UTC)
    findings = find(options)
    result = Result(section, taken_at, machine(), asdict(options), findings)
    click.echo(f"\n{table(findings)}\n")
    path = result.save(output)
    click.echo(f"Kept in {path}")
    if findings.measurements:
        _plot(path)


def _plot(path: Path) -> None:
    try:
        import plot
    except ImportError:
        click.echo("No plot: matplotlib is not installed (pip install -e '.[bench]').")
        return
    click.echo(f"Plotted in {plot.draw(path)}")


def _connection_counts(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        counts = sorted({int(each) for each in value.split(",")})
    except ValueError:
        raise click.BadParameter("numbers with commas between them, like 1,16,64") from None
    if counts[0] < 1:
        raise click.BadParameter("at least 1")
    return tuple(counts)


def _sections_help(command: Callable[..., Any]) -> Callable[..., Any]:
    lines = "\n".join(f"  {name:11} {says}" for name, says in SECTIONS.items())
    command.__doc__ = f"{command.__doc__}\n\n    \b\nSections, the first five if none is named:\n{lines}"
    return command


POSITIVE = click.IntRange(min=1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)), metavar="[SECTION]...")
@click.option("--seconds", type=POSITIVE, default=10, envvar="BENCH_SECONDS", help="How long each measurement takes.")
@click.option(
    "--warm-up-s",
    type=click.IntRange(min=0),
    default=6,
    help="The same load before each measurement. Longer than a group's 5 s: then replies are being written, too.",
)
@click.option("--runs", type=POSITIVE, default=3, help="Measure everything this often; medians are shown.")
@click.option("--transport", type=click.Choice(["redis", "amqp"]), default="redis", help="amqp starts a RabbitMQ.")
@click.option("--skip-pgbench", is_flag=True, show_default=False, help="Measure Realmate alone.")
@click.option("--connections", default="1,16,64,256", callback=_connection_counts, help="rates: senders at a time.")
@click.option("--groups", type=POSITIVE, default=100_000, help="replies: how many are due.")
@click.option("--over-s", type=click.FloatRange(min=0.1), default=10.0, help="replies: in how many seconds.")
@click.option("--messages-per-group", type=POSITIVE, default=3, help="replies: how many each answers.")
@click.option("--messages", type=POSITIVE, default=10_000_000, help="growth: how many are stored at last.")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=60.0, help="soak: for how long.")
@click.option("--rate", type=click.FloatRange(min=1), help="soak: events a second; else half of a peak measured first.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=HERE / "results", show_default=False,
    help="Where figures (JSON) and plots (PNG) go, instead of bench/results.",
)  # fmt: skip
@_sections_help
def main(*, sections: Sequence[str], output: Path, skip_pgbench: bool, **others: Any) -> None:
    """Measure a fresh Realmate, and pgbench on the same Postgres. Print tables, keep figures and plots. Nothing
    else of a run is left behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop in order on it, as on Ctrl-C
    options = Options(with_pgbench=not skip_pgbench, **others)
    click.echo("\n".join(f"{name}: {value}" for name, value in machine().items()))
    try:
        wrk.ensure_installed()
        for section in sections or BY_DEFAULT:
            measure(section, options, output)
    except (BenchError, requests.RequestException, psycopg2.Error) as error:
        raise click.ClickException(str(error)) from error
    except psutil.NoSuchProcess as error:
        raise click.ClickException(f"a process of Realmate ended while it was measured: {error}") from error


if __name__ == "__main__":
    main()
