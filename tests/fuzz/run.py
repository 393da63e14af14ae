"""`make fuzz`: atheris at each target for a while, in a process of its own; what it learnt is kept for the next run."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import click

from targets import SEEDS, TARGETS

KEPT = Path(".realmate/fuzz")
LOOK_INTERVAL_S = 0.2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(TARGETS)), metavar="[TARGET...]")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(min=1), help="For each target.")
@click.option("--input", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Only this input.")
def main(names: tuple[str, ...], seconds: int, path: Path | None) -> None:
    """Throw what atheris thinks of at each TARGET (default: all). The exit code is 1 when one did not hold.

    What broke one is kept in .realmate/fuzz beside its log, and is tried again with --input.
    """
    failed = [name for name in names or TARGETS if not _fuzz(name, seconds, path)]
    if failed:
        raise click.ClickException(f"did not hold: {', '.join(failed)}. Logs and inputs are in {KEPT}")


def _fuzz(name: str, seconds: int, path: Path | None) -> bool:
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[TARGETS[name]]):
        (corpus / f"seed-{number}").write_bytes(seed)
    what = [str(path)] if path else [str(corpus), f"-max_total_time={seconds}", "-max_len=2000"]
    command = [sys.executable, str(Path(__file__).with_name("by_atheris.py")), name, *what]
    log = KEPT / f"{name}.log"
    with log.open("w") as output:
        fuzzing = subprocess.Popen([*command, f"-artifact_prefix={KEPT}/{name}-", "-timeout=10"], stderr=output)
        _show(fuzzing, name, seconds)
    held = fuzzing.wait() == 0
    inputs = re.search(r"Done (\d+) runs", told := log.read_text())
    click.echo(f"{name}: {'held' if held else 'did not hold'}" + (f", {int(inputs[1]):,} inputs" if inputs else ""))
    if not held:
        click.echo(told[-2000:], err=True)
    return held


def _show(fuzzing: subprocess.Popen[bytes], name: str, seconds: int) -> None:
    """How far it is; it starts and ends a little beside its time."""
    started_at = time.monotonic()
    with click.progressbar(length=seconds, label=name, show_eta=False) as bar:
        while fuzzing.poll() is None:
            time.sleep(LOOK_INTERVAL_S)
            bar.update(min(seconds, int(time.monotonic() - started_at)) - bar.pos)


if __name__ == "__main__":
    main()
