"""Draws what the sections found: one PNG beside each JSON file.

python bench/plot.py bench/results/*.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import matplotlib as mpl

mpl.use("Agg")  # files only: no window, no display

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench import PGBENCH, PGBENCH_PIPELINED, POST
from findings import Result
from measurement import STORES_AND_SERVICES, Measurement, by_kind

PERCENTILES = ("p50", "p90", "p99")
INCHES = (6.0, 4.2)
CAPTION_SIZE = 7


def draw(path: Path) -> Path:
    """Draw the result in `path`; where the picture is."""
    result = Result.read(path)
    panels = [*PANELS.get(result.section, []), draw_cpu] if result.findings.measurements else []
    figure, axes = plt.subplots(
        1, len(panels), figsize=(INCHES[0] * len(panels), INCHES[1]), layout="constrained", squeeze=False
    )
    for panel, ax in zip(panels, axes[0], strict=True):
        panel(ax, result)
        ax.set_axisbelow(True)
        ax.grid(visible=True, alpha=0.3)
    figure.suptitle(f"Realmate, {result.section}")
    figure.supxlabel(_caption(result), fontsize=CAPTION_SIZE)
    picture = path.with_suffix(".png")
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    return picture


def _caption(result: Result) -> str:
    machine = result.machine
    return (
        f"{machine['cores']} cores, {machine['processor']}, PostgreSQL {result.findings.postgres.get('version')},"
        f" commit {machine['commit']}, {result.taken_at:%Y-%m-%d}; medians of the runs"
    )


# --- one panel each ---


def draw_rate(ax: Axes, result: Result) -> None:
    for what, colour in ((POST, "tab:blue"), (PGBENCH, "tab:gray"), (PGBENCH_PIPELINED, "tab:brown")):
        if runs := _having(result, what, "connections"):
            _line(ax, runs, "connections", lambda each: each.load.per_second, label=what, color=colour)
    _logarithmic(ax, result, "connections")
    ax.set(xlabel="connections", ylabel="events/s", ylim=(0, None))
    ax.legend()


def draw_latency(ax: Axes, result: Result) -> None:
    runs = _having(result, POST, "connections")
    for name in PERCENTILES:
        _line(ax, runs, "connections", _latency(name), label=name)
    _logarithmic(ax, result, "connections")
    ax.set(xlabel="connections (closed loop)", ylabel="ms", ylim=(0, None))
    ax.legend()


def draw_latency_by_rate(ax: Axes, result: Result) -> None:
    runs = _having(result, "fixed rate", "% of peak")
    for name in (*PERCENTILES, "max"):
        _line(ax, runs, "% of peak", _latency(name), label=name)
    _line(ax, runs, "% of peak", lambda each: each.load.late_ms["p99"], label="sent late, p99", linestyle=":")
    ax.set(xlabel="% of the peak rate (fixed rate, 64 connections)", ylabel="ms", yscale="log")
    ax.legend()


def draw_lateness(ax: Axes, result: Result) -> None:
    names = (*PERCENTILES, "max")
    kinds = by_kind(result.findings.measurements)
    width = 0.8 / len(kinds)
    for number, ((what, _), runs) in enumerate(kinds.items()):
        heights = [median(each.load.latency_ms[name] for each in runs) for name in names]
        ax.bar([place + number * width for place in range(len(names))], heights, width, label=what)
    ax.set_xticks([place + width * (len(kinds) - 1) / 2 for place in range(len(names))], names)
    ax.set(ylabel="ms after the group's end")
    ax.legend()


def draw_growth(ax: Axes, result: Result) -> None:
    for what in dict.fromkeys(each.what for each in result.findings.measurements):
        runs = _having(result, what, "stored")
        _line(ax, runs, "stored", lambda each: each.realmate_us_per_event, label=what)
    ax.set(xlabel="messages in the tables", ylabel="CPU µs/event, services and stores", ylim=(0, None))
    ax.set_xscale("symlog", linthresh=100_000)
    ax.legend()


def draw_memory(ax: Axes, result: Result) -> None:
    samples = result.findings.samples
    for name in samples[0].mib if samples else ():
        ax.plot([each.at_s / 60 for each in samples], [each.mib[name]["pss"] for each in samples], label=name)
    ax.set(xlabel="minutes", ylabel="MiB (PSS)", ylim=(0, None))
    ax.legend()


def draw_minutes(ax: Axes, result: Result) -> None:
    minutes = result.findings.minutes
    for name in PERCENTILES:
        ax.plot(range(1, len(minutes) + 1), [each.latency_ms[name] for each in minutes], marker=".", label=name)
    ax.set(xlabel="minute", ylabel="ms", yscale="log")
    ax.legend()


def draw_cpu(ax: Axes, result: Result) -> None:
    """CPU of an event, stacked by process, a bar for each kind of measurement."""
    kinds = {kind: runs for kind, runs in by_kind(result.findings.measurements).items() if any(r.cpu_s for r in runs)}
    names = [f"{what}, {', '.join(f'{value:,g} {name}' for name, value in at)}" for (what, at) in kinds]
    base = [0.0] * len(names)
    for process in (*STORES_AND_SERVICES, "load"):
        widths = [median(each.cpu_us_per_event(process) for each in runs) for runs in kinds.values()]
        if any(widths):
            ax.barh(names, widths, left=base, label=process)
            base = [left + width for left, width in zip(base, widths, strict=True)]
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=CAPTION_SIZE)
    ax.set(xlabel="CPU µs/event by process")
    ax.legend(fontsize=CAPTION_SIZE, loc="upper left", bbox_to_anchor=(1, 1))


PANELS: dict[str, list[Callable[[Axes, Result], None]]] = {
    "rates": [draw_rate, draw_latency],
    "latency": [draw_latency_by_rate],
    "replies": [draw_lateness],
    "growth": [draw_growth],
    "soak": [draw_memory, draw_minutes],
}


# --- drawing ---


def _having(result: Result, what: str, axis: str) -> list[Measurement]:
    return [each for each in result.findings.measurements if each.what == what and axis in each.at]


def _latency(percentile: str) -> Callable[[Measurement], float]:
    return lambda each: each.load.latency_ms[percentile]


def _line(ax: Axes, runs: Sequence[Measurement], axis: str, of: Callable[[Measurement], float], **style: Any) -> None:
    """The median of the runs at each place of `axis`, with bars from the least to the most."""
    places = sorted({each.at[axis] for each in runs})
    values = [sorted(of(each) for each in runs if each.at[axis] == place) for place in places]
    middles = [median(known) for known in values]
    below = [middle - known[0] for middle, known in zip(middles, values, strict=True)]
    above = [known[-1] - middle for middle, known in zip(middles, values, strict=True)]
    ax.errorbar(places, middles, yerr=(below, above), marker="o", capsize=3, **style)


def _logarithmic(ax: Axes, result: Result, axis: str) -> None:
    places = sorted({each.at[axis] for each in result.findings.measurements if axis in each.at})
    ax.set_xscale("log", base=2)
    ax.set_xticks(places, [f"{place:g}" for place in places])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: Sequence[Path]) -> None:
    """Draw the results in FILES (JSON, as bench/run.py writes them) anew, each as a PNG beside it."""
    for path in files:
        print(draw(path))


if __name__ == "__main__":
    main()
