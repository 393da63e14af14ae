"""The output of `realmate erase`."""

from __future__ import annotations

import time
from datetime import UTC

import click

from realmate.admin.operations import NoSuchSource, Operations
from realmate.conversations.erasing import Erased

SILENCE_S = 2.0
"""After so long a person is told that the command is still at work."""


def conversation(operations: Operations, source: str, conversation_id: str) -> None:
    """Raises AdminError where there is nothing of it."""
    total = Erased()
    told_at = time.monotonic()
    for portion in operations.erase_conversation(source, conversation_id):
        total += portion
        if time.monotonic() - told_at > SILENCE_S:
            click.echo("Still erasing ...", err=True)
            told_at = time.monotonic()
    click.echo(f"Erased: {_told(total)}.")


def whole_source(operations: Operations, source: str, *, if_exists: bool) -> None:
    """Raises AdminError where there is no such source, unless that is well."""
    total = Erased()
    try:
        erasing = operations.erase_source(source)
        bar = click.progressbar(
            erasing.portions, erasing.conversations, label=f"Erasing {source}", show_pos=True, show_eta=True
        )
        with bar:
            for portion in erasing.portions:
                bar.update(portion.conversations)
                total += portion
    except NoSuchSource as error:
        if not if_exists:
            raise
        click.echo(f"Nothing to erase: {error}.")
        return
    click.echo(f"Erased: {_told(total)}.")


def history(operations: Operations, limit: int) -> None:
    lines = operations.erasures(limit)
    for each in reversed(lines):
        took_s = (each.finished_at - each.started_at).total_seconds()
        started_at = each.started_at.astimezone(UTC)
        click.echo(
            f"{started_at:%Y-%m-%d %H:%M:%S}  {took_s:8.1f} s  {each.source:12}  {each.reason:12}  {_told(each.erased)}"
        )
    click.echo(f"\n{len(lines)} shown" if lines else "Nothing was ever erased.", err=True)


def _told(erased: Erased) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in erased._asdict().items())
