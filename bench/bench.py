"""Takes the measurements of one installation, one after another, and tells of each: what every section is made with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import IO

import pgbench
import realmate_client
import wrk
from cpu import cpu_seconds
from database import Database
from installation import Installation, running
from measurement import Measurement
from outcome import Load
from pgbench import Script

POST, GET = "Realmate POST", "Realmate GET"
PGBENCH, PGBENCH_PIPELINED, PGBENCH_READ = "pgbench", "pgbench pipelined", "pgbench read"


@dataclass(frozen=True)
class Options:
    """What the command line says; run.py has the explanations."""

    seconds: int = 10
    warm_up_s: int = 6
    runs: int = 3
    transport: str = "redis"
    with_pgbench: bool = True
    connections: tuple[int, ...] = (1, 16, 64, 256)
    groups: int = 100_000
    over_s: float = 10.0
    messages_per_group: int = 3
    messages: int = 10_000_000
    minutes: float = 60.0
    rate: float | None = None


class Bench:
    """What can be measured of one installation, in one way for all: settle, warm up, measure."""

    def __init__(self, installation: Installation, database: Database, options: Options) -> None:
        self.installation = installation
        self.database = database
        self.options = options
        self.postgres = {"version": database.version(), **database.durability()}
        """What a reader of a result must know of it."""

    @property
    def url(self) -> str:
        return self.installation.url

    def post(
        self, connections: int, *, run: int, what: str = POST, stored: int | None = None, anew: bool = True
    ) -> Measurement:
        """Closed loop: new conversations, ten messages to each; beside `stored` messages, if not `anew`."""
        return self.measure(
            what,
            {"connections": connections} | ({} if stored is None else {"stored": stored}),
            lambda seconds: wrk.post_events(self.url, connections=connections, seconds=seconds),
            run=run,
            anew=anew,
        )

    def pgbench_events(self, clients: int, *, run: int, pipelined: bool = False) -> Measurement:
        before_the_first = "10"  # the script's next step is 0, which opens a conversation
        script = Script("event.sql", {"step": before_the_first, "pipelined": str(int(pipelined))})
        return self._pgbench(PGBENCH_PIPELINED if pipelined else PGBENCH, script, clients, run=run)

    def pgbench_reads(self, clients: int, conversations: int, *, run: int) -> Measurement:
        """Each of one of so many stored conversations."""
        script = Script("read.sql", {"count": str(conversations)})
        return self._pgbench(PGBENCH_READ, script, clients, run=run, conversations=conversations)

    def _pgbench(
        self, what: str, script: Script, clients: int, *, run: int, conversations: int | None = None
    ) -> Measurement:
        """It warms up by itself: its connections are part of what has to."""
        url, warm_up_s = self.installation.database_url, self.options.warm_up_s
        return self.measure(
            what,
            {"connections": clients} | ({} if conversations is None else {"conversations": conversations}),
            lambda seconds: pgbench.run(script, url, clients=clients, seconds=seconds, warm_up_s=warm_up_s),
            run=run,
            anew=conversations is None,
            warm_up_s=0,
        )

    def measure(  # noqa: PLR0913 (what, at what and with what, and how to begin)
        self,
        what: str,
        at: Mapping[str, float],
        load: Callable[[int], Load],
        *,
        run: int,
        anew: bool = True,
        warm_up_s: int | None = None,
    ) -> Measurement:
        """Bring `load` on for some seconds, from empty tables if `anew`, when all is quiet and then all is warm."""
        told = ", ".join(f"{value:,g} {name}" for name, value in at.items())
        print(f"  run {run}/{self.options.runs}  {what:18} {told:36} ", end="", flush=True)
        if anew:
            self.database.begin_anew()
        else:
            self.database.settle()
        warm_up_s = self.options.warm_up_s if warm_up_s is None else warm_up_s
        if warm_up_s:
            load(warm_up_s)
        measurement = self.watch(what, at, lambda: load(self.options.seconds), run=run)
        failed = f", {measurement.load.failed:,} FAILED" if measurement.load.failed else ""
        print(f"{measurement.load.per_second:10,.0f}/s{failed}", flush=True)
        return measurement

    def watch(self, what: str, at: Mapping[str, float], load: Callable[[], Load], *, run: int) -> Measurement:
        """What `load` comes to, what every process spends on it, and how Realmate decides its events."""
        verdicts = realmate_client.verdicts(self.url)
        cpu_s = cpu_seconds(self.installation.processes)
        started_at = time.monotonic()
        seen = load()
        wall_s = time.monotonic() - started_at
        spent_s = {name: used - cpu_s[name] for name, used in cpu_seconds(self.installation.processes).items()}
        decided = realmate_client.verdicts(self.url) - verdicts
        return Measurement(what, dict(at), run, seen, wall_s, spent_s, dict(decided))


@contextmanager
def started(options: Options, *, sources: str = "", **settings: str) -> Iterator[Bench]:
    """A bench around a fresh Realmate, which has `sources` as its file of them and `settings` in its environment."""
    with (
        NamedTemporaryFile("w", suffix=".toml") as file,
        running(transport=options.transport, settings=settings | _sources_file(file, sources)) as installation,
        closing(Database(installation.database_url)) as database,
    ):
        bench = Bench(installation, database, options)
        print("  Postgres: " + ", ".join(f"{name} {value}" for name, value in bench.postgres.items()), flush=True)
        database.grow_old()
        yield bench


def _sources_file(file: IO[str], sources: str) -> dict[str, str]:
    file.write(sources)
    file.flush()
    return {"SOURCES_FILE": file.name} if sources else {}
