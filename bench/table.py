"""What a section found, as text: medians of the runs, a line for each kind of measurement."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from findings import Findings
from measurement import STORES_AND_SERVICES, Measurement, MessageKind, Spread, by_kind, ratio

OTHERS_PERCENT_LIMIT = 20
"""Growth's other installation, idle, takes half of it."""
PERCENTILES = ("p50", "p90", "p99", "max")
HEADINGS = (
    *("", "", "events/s", "(min..max)", "ratio", "p50 ms", "p90", "p99", "max", "late p99"),
    *("failed", "held", "rejected"),
    *("| us/event:", *STORES_AND_SERVICES, "load", "| sum", "| others"),
)


def table(findings: Findings) -> str:
    compared = dict(findings.compared)
    lines = [list(HEADINGS)]
    for kind, measurements in by_kind(findings.measurements).items():
        lines.append(_cells(kind, measurements, _ratio(findings.measurements, kind, compared)))
    used = [column for column in range(len(HEADINGS)) if any(line[column] for line in lines[1:]) or _is_rule(column)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rows = ["  ".join(_aligned(line, column, widths[column]) for column in used) for line in lines]
    figures = [f"{name}: {spread(figure)}" for name, figure in findings.figures.items()]
    if not findings.measurements:
        return "\n".join(figures)
    return "\n".join([*rows, "", *figures, *_doubts(findings)])


def _doubts(findings: Findings) -> list[str]:
    disturbed = [each for each in findings.measurements if each.others_percent > OTHERS_PERCENT_LIMIT]
    if not disturbed:
        return []
    share = f"{len(disturbed)} of {len(findings.measurements)} measurements"
    return [f"Do not trust this: in {share} something else took more than {OTHERS_PERCENT_LIMIT} % of a core."]


def spread(figure: Spread) -> str:
    """A figure with its range, in three digits."""
    if figure.lowest == figure.highest:
        return _digits(figure.median)
    return f"{_digits(figure.median)} ({_digits(figure.lowest)}..{_digits(figure.highest)})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _is_rule(column: int) -> bool:
    return HEADINGS[column].startswith("|")


def _aligned(line: Sequence[str], column: int, width: int) -> str:
    return line[column].ljust(width) if column <= 1 else line[column].rjust(width)


def _ratio(
    measurements: Sequence[Measurement], of: MessageKind, compared: dict[MessageKind, MessageKind]
) -> Spread | None:
    return ratio(measurements, of, compared[of]) if of in compared else None


def _cells(kind: MessageKind, runs: Sequence[Measurement], proportion: Spread | None) -> list[str]:
    what, at = kind
    rate = Spread.of(each.load.per_second for each in runs)
    late = [each.load.late_ms["p99"] for each in runs if each.load.late_ms]
    decided = any(each.verdicts for each in runs)

    def cpu(name: str) -> str:
        return _median(runs, lambda each: each.cpu_us_per_event(name)) if any(name in r.cpu_s for r in runs) else ""

    return [
        what,
        ", ".join(f"{value:,g} {name}" for name, value in at),
        f"{rate.median:,.0f}",
        f"({rate.lowest:,.0f}..{rate.highest:,.0f})" if len(runs) > 1 else "",
        f"{proportion.median:.2f}" if proportion else "",
        *(_latency(runs, name) for name in PERCENTILES),
        f"{statistics.median(late):.2f}" if late else "",
        str(sum(each.load.failed for each in runs)),
        str(sum(each.count("held") for each in runs)) if decided else "",
        str(sum(each.rejected for each in runs)) if decided else "",
        "|",
        *(cpu(name) for name in (*STORES_AND_SERVICES, "load")),
        f"| {_median(runs, lambda each: each.realmate_us_per_event)}",
        f"| {_median(runs, lambda each: each.others_percent)} %",
    ]


def _median(runs: Sequence[Measurement], of: Callable[[Measurement], float]) -> str:
    return f"{statistics.median(of(each) for each in runs):.0f}"


def _latency(runs: Sequence[Measurement], name: str) -> str:
    known = [each.load.latency_ms[name] for each in runs if name in each.load.latency_ms]
    return f"{statistics.median(known):.1f}" if known else ""
