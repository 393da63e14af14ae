"""One measurement, and the medians and ratios of many."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from outcome import Load

STORES_AND_SERVICES = ("webhook", "conversations", "deliveries", "postgres", "valkey", "rabbitmq")
PROMISES = {"created", "accepted", "held", "duplicate", "closed"}

MessageKind = tuple[str, tuple[tuple[str, float], ...]]
"""What is measured, and at what: the measurements of one kind differ by their run alone."""


def kind(what: str, **at: float) -> MessageKind:
    return what, tuple(at.items())


@dataclass(frozen=True)
class Spread:
    """A figure of several runs."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])


@dataclass(frozen=True)
class Measurement:
    what: str
    at: dict[str, float]
    """Connections, messages in the tables ...: what the rows of a table differ by."""
    run: int
    load: Load
    wall_s: float
    cpu_s: dict[str, float]
    """Spent in `wall_s`, by process; `load` is the generator, `others` all else on this machine."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """How many events got which, as Realmate counted them: a few more than wrk saw answers to, which stops first."""

    @property
    def kind(self) -> MessageKind:
        return kind(self.what, **self.at)

    def cpu_us_per_event(self, process: str) -> float:
        return 1e6 * self.cpu_s.get(process, 0.0) / max(self.load.events, 1)

    @property
    def realmate_us_per_event(self) -> float:
        """Services and stores, without the load generator."""
        return sum(self.cpu_us_per_event(name) for name in STORES_AND_SERVICES)

    @property
    def others_percent(self) -> float:
        """Of one core."""
        return 100 * self.cpu_s.get("others", 0.0) / self.wall_s

    def count(self, verdict: str) -> int:
        return self.verdicts.get(verdict, 0)

    @property
    def rejected(self) -> int:
        return sum(count for verdict, count in self.verdicts.items() if verdict not in PROMISES)


def by_kind(measurements: Sequence[Measurement]) -> dict[MessageKind, list[Measurement]]:
    """In the order of the first appearance."""
    kinds: dict[MessageKind, list[Measurement]] = {}
    for each in measurements:
        kinds.setdefault(each.kind, []).append(each)
    return kinds


def rate(measurement: Measurement) -> float:
    return measurement.load.per_second


def cpu(measurement: Measurement) -> float:
    return measurement.realmate_us_per_event


def ratio(
    measurements: Sequence[Measurement], of: MessageKind, to: MessageKind, figure: Callable[[Measurement], float] = rate
) -> Spread | None:
    """The median of the runs' own ratios, as what disturbed a run has mostly disturbed both sides of it."""
    kinds = by_kind(measurements)
    bars = {each.run: figure(each) for each in kinds.get(to, ())}
    ratios = [figure(each) / bars[each.run] for each in kinds.get(of, ()) if each.run in bars]
    return Spread.of(ratios) if ratios else None
