"""`make bench`: how fast Realmate is, beside pgbench on the same Postgres. README.md says how to read it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import psutil
import psycopg2
import requests

import pgbench
import realmate_client
import wrk
from cpu import cpu_seconds
from database import Database
from installation import BenchError, Installation, running
from load import Load
from machine import machine
from measurement import GET, PGBENCH, POST, Measurement, table

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP_CONNECTIONS = GET_CONNECTIONS = 64


class Bench:
    """What can be measured of one installation."""

    def __init__(self, installation: Installation, database: Database, seconds: int) -> None:
        self._installation = installation
        self._database = database
        self._seconds = seconds

    def post(self, connections: int) -> Measurement:
        self._database.begin_anew()
        url = self._installation.url
        return self._measure(
            POST, connections, lambda: wrk.post_events(url, connections=connections, seconds=self._seconds)
        )

    def pgbench(self, clients: int) -> Measurement:
        self._database.begin_anew()
        url = self._installation.database_url
        return self._measure(PGBENCH, clients, lambda: pgbench.run(url, clients=clients, seconds=self._seconds))

    def get(self, connections: int) -> Measurement:
        self._database.begin_anew()
        url = realmate_client.make_conversation(self._installation.url)
        return self._measure(GET, connections, lambda: wrk.get(url, connections=connections, seconds=self._seconds))

    def _measure(self, what: str, connections: int, load: Callable[[], Load]) -> Measurement:
        verdicts = realmate_client.verdicts(self._installation.url)
        cpu_s = cpu_seconds(self._installation.processes)
        started_at = time.monotonic()
        seen = load()
        wall_s = time.monotonic() - started_at
        spent_s = {name: used - cpu_s[name] for name, used in cpu_seconds(self._installation.processes).items()}
        decided = realmate_client.verdicts(self._installation.url) - verdicts
        return Measurement(what, connections, seen, wall_s, spent_s, dict(decided))


def measure_all(bench: Bench, connections: Sequence[int], *, runs: int, with_pgbench: bool) -> Iterator[Measurement]:
    """Realmate and pgbench in turns: what else the machine does in that time hits both."""
    for _ in range(runs):
        clients_done = set()
        for count in connections:
            yield _told(bench.post, POST, count)
            clients = min(count, pgbench.MAX_CLIENTS)
            if with_pgbench and clients not in clients_done:
                clients_done.add(clients)
                yield _told(bench.pgbench, PGBENCH, clients)
        yield _told(bench.get, GET, GET_CONNECTIONS)


def _told(measure: Callable[[int], Measurement], what: str, connections: int) -> Measurement:
    """Measure, and tell what is under way and what came of it."""
    print(f"  {what:13} {connections:4} connections ... ", end="", flush=True)
    measurement = measure(connections)
    print(f"{measurement.load.per_second:,.0f}/s", flush=True)
    return measurement


def _save(facts: dict[str, str], seconds: int, measurements: Sequence[Measurement]) -> Path:
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    result = {"machine": facts, "seconds": seconds, "measurements": measurements}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return path


def _connection_counts(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    try:
        counts = sorted({int(each) for each in value.split(",")})
    except ValueError:
        raise click.BadParameter("numbers with commas between them, like 1,16,64") from None
    if counts[0] < 1:
        raise click.BadParameter("at least 1")
    return counts


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    envvar="BENCH_SECONDS",
    show_envvar=True,
    help="How long each measurement takes.",
)
@click.option(
    "--connections",
    default="1,16,64,256",
    show_default=True,
    callback=_connection_counts,
    help="How many senders at a time, one measurement for each count.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Take every measurement this often, and show the median.",
)
@click.option("--skip-pgbench", is_flag=True, help="Measure Realmate alone.")
def main(*, seconds: int, connections: list[int], runs: int, skip_pgbench: bool) -> None:
    """Measure a fresh Realmate with wrk, and pgbench on the same Postgres; print a table, and keep it in
    bench/results. Nothing else of a run is left behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop in order on it, as on Ctrl-C
    try:
        wrk.ensure_installed()
        print("Starting Realmate ...", flush=True)
        with running() as installation, closing(Database(installation.database_url)) as database:
            facts = {**machine(installation.directory), "PostgreSQL": database.version(), **database.durability()}
            print("\n".join(f"  {name}: {value}" for name, value in facts.items()))
            bench = Bench(installation, database, seconds)
            print(f"Measuring, {seconds} s each, each from empty tables when all groups are answered", flush=True)
            _told(bench.post, "warm-up", WARM_UP_CONNECTIONS)
            measurements = list(measure_all(bench, connections, runs=runs, with_pgbench=not skip_pgbench))
    except (BenchError, requests.RequestException, psycopg2.Error) as error:
        raise click.ClickException(str(error)) from error
    except psutil.NoSuchProcess as error:
        raise click.ClickException(f"a process of Realmate ended while it was measured: {error}") from error
    print(f"\n{table(measurements)}\n\nKept in {_save(facts, seconds, measurements)}")


if __name__ == "__main__":
    main()
