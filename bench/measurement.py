"""One measurement, and the table made of many."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from load import Load
from pgbench import MAX_CLIENTS

POST, PGBENCH, GET = "Realmate POST", "pgbench", "Realmate GET"
REALMATE_PROCESSES = ("webhook", "conversations", "valkey", "postgres")
CPU_OF = (*REALMATE_PROCESSES, "load", "others")
PROMISES = {"created", "accepted", "held", "duplicate", "closed"}


@dataclass(frozen=True)
class Measurement:
    what: str
    connections: int
    load: Load
    wall_s: float
    cpu_s: dict[str, float]
    """Spent in `wall_s`, by process."""
    verdicts: dict[str, int]
    """How many events got which, as Realmate counted them: a few more than wrk saw answers to, which stops first."""

    def cpu_percent(self, process: str) -> float:
        """Of one core."""
        return 100 * self.cpu_s[process] / self.wall_s

    @property
    def cpu_us_per_event(self) -> float:
        """All of Realmate and its stores, without the load generator."""
        return 1e6 * sum(self.cpu_s[name] for name in REALMATE_PROCESSES) / max(self.load.events, 1)

    def count(self, verdict: str) -> int:
        return self.verdicts.get(verdict, 0)

    @property
    def refused(self) -> int:
        return sum(count for verdict, count in self.verdicts.items() if verdict not in PROMISES)


def medians(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Of each kind the one with the median rate, in the order of the first appearance."""
    kinds: dict[tuple[str, int], list[Measurement]] = {}
    for each in measurements:
        kinds.setdefault((each.what, each.connections), []).append(each)
    return [_median(of_a_kind) for of_a_kind in kinds.values()]


def _median(measurements: Sequence[Measurement]) -> Measurement:
    rate = statistics.median_low(each.load.per_second for each in measurements)
    return next(each for each in measurements if each.load.per_second == rate)


HEADINGS = (
    *("", "conns", "events/s", "x pgbench", "p50 ms", "p90 ms", "p99 ms", "failed", "accepted", "held", "refused"),
    *("| CPU:", *CPU_OF, "us/event"),
)
LEGEND = """\
failed: answers that were not 2xx, and broken connections. accepted, held, refused: messages, by Realmate's own count.
CPU: % of one core; load is wrk or pgbench, others what else ran here then. us/event: CPU of Realmate and its stores."""


def table(measurements: Sequence[Measurement]) -> str:
    """POSTs first, then what they compare to, one line each."""
    order = [POST, PGBENCH, GET]
    rows = sorted(medians(measurements), key=lambda each: (order.index(each.what), each.connections))
    lines = [HEADINGS, *(_cells(row, _reference(row, rows)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join([*(_aligned(line, widths) for line in lines), "", LEGEND])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = line
    return "  ".join([name.ljust(widths[0]), *(map(str.rjust, figures, widths[1:]))])


def _reference(row: Measurement, rows: Sequence[Measurement]) -> Measurement | None:
    """The pgbench run that a POST run is compared to."""
    clients = min(row.connections, MAX_CLIENTS)
    matching = (each for each in rows if each.what == PGBENCH and each.connections == clients)
    return next(matching, None) if row.what == POST else None


def _cells(row: Measurement, reference: Measurement | None) -> tuple[str, ...]:
    load = row.load
    return (
        row.what,
        str(row.connections),
        f"{load.per_second:,.0f}",
        f"{load.per_second / reference.load.per_second:.2f}" if reference else "",
        *(f"{load.latency_ms[name]:.1f}" if name in load.latency_ms else "" for name in ("p50", "p90", "p99")),
        str(load.non_2xx + load.socket_errors),
        *(str(count) if row.verdicts else "" for count in (row.count("accepted"), row.count("held"), row.refused)),
        "|",
        *(f"{row.cpu_percent(name):.0f}" for name in CPU_OF),
        f"{row.cpu_us_per_event:.0f}",
    )
