"""The output of `realmate rejections`, `realmate replay` and `realmate export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from realmate.admin.database import AdminError
from realmate.admin.operations import Operations, Planned, Progress
from realmate.admin.rejections import Filter, Rejection, Summary
from realmate.admin.replay import ReplayAction
from realmate.admin.report import Report
from realmate.wire.printable import printable, printable_json, printable_line


def show_list(operations: Operations, which: Filter, *, limit: int, as_json: bool) -> None:
    found = operations.newest(which, limit)
    if as_json:
        for each in found:
            rejection = each if isinstance(each, Rejection) else operations.find(each.id)
            if rejection is not None:  # it may have been forgotten meanwhile
                click.echo(_encoded(rejection))
        return
    for each in found:
        click.echo(_row(each))
    planned = operations.plan(which)
    total = sum(each.events for each in planned)
    by_code = ", ".join(f"{each.events:,} {each.code}" for each in planned)
    click.echo(f"\n{len(found):,} of {total:,} shown" + (f": {by_code}" if planned else ""), err=True)


def _row(rejection: Summary) -> str:
    code = click.style(f"{rejection.code:24}", fg="red")
    replayed = "" if rejection.replay_status is None else f"  (replayed: {rejection.replay_status})"
    at = rejection.at.astimezone(UTC)
    detail = printable_line(rejection.detail)
    return f"{rejection.id:>8}  {at:%Y-%m-%d %H:%M:%S}  {rejection.source:12}  {code}  {detail}{replayed}"


def show_one(operations: Operations, number: int, *, body_only: bool, as_json: bool) -> None:
    """Raises AdminError where there is none."""
    rejection = operations.find(number)
    if rejection is None:
        raise AdminError(f"there is no rejection {number}; it may have been forgotten, or erased")
    if body_only:
        _show_body(rejection.body)
    elif as_json:
        click.echo(_encoded(rejection))
    else:
        for name, value in _as_json(rejection).items():
            if value is not None:
                click.echo(f"{name:16}  {printable(str(value))}")


def replay(operations: Operations, which: Filter, report: Report, *, rate: float, send: bool) -> bool:
    """Show what would be sent, and send it if so told; whether all was answered 2xx. Raises SendError."""
    planned = operations.plan(which)
    _show_plan(planned)
    to_send = sum(each.events for each in planned if each.action is not ReplayAction.NOT_SENT)
    report.total = to_send
    if not send:
        click.echo("\nThis was a dry run: nothing was sent. Add --send to send." if to_send else "\nNothing to send.")
        return True
    if not to_send:
        return True

    click.echo()
    done = Progress(0, {})
    with click.progressbar(length=to_send, label="Sending", show_pos=True, show_eta=True) as bar:
        for done in operations.replay(which, rate):
            bar.update(done.sent - report.sent)
            report.sent, report.answers = done.sent, dict(done.answers)
    answers = ", ".join(f"{number:,} answered {answer}" for answer, number in sorted(done.answers.items()))
    click.echo(f"\n{answers or 'Nothing was left to send.'}")
    return all(answer.startswith("2") for answer in done.answers)


def _show_plan(planned: Sequence[Planned]) -> None:
    for action in ReplayAction:
        number = sum(each.events for each in planned if each.action is action)
        codes = ", ".join(each.code for each in planned if each.action is action)
        click.echo(f"{number:>8,} {action}" + (f" ({codes})" if codes else ""))


def export(operations: Operations, source: str, conversation_id: str, output: Path | None) -> None:
    """Write it to a file, or to stdout. A terminal gets no control characters. Raises AdminError, and OSError."""
    document = operations.export(source, conversation_id)
    if output is None:
        click.echo(printable_json(document.decode()) if sys.stdout.isatty() else document)
    else:
        output.write_bytes(document + b"\n")
        click.echo(f"Written to {output}: {len(document):,} bytes.", err=True)


def _show_body(body: bytes) -> None:
    """Print the body as it came, for a file or another program. A terminal gets no control characters."""
    click.echo(printable(body.decode(errors="backslashreplace")) if sys.stdout.isatty() else body)


def _encoded(rejection: Rejection) -> bytes:
    return printable_json(msgspec.json.encode(_as_json(rejection)).decode()).encode()


def _as_json(rejection: Rejection) -> dict[str, object]:
    """Return the fields. All moments are in UTC, whatever the time zone of the database is."""
    fields: dict[str, object] = msgspec.structs.asdict(rejection)
    moments = {name: value.astimezone(UTC).isoformat() for name, value in fields.items() if isinstance(value, datetime)}
    return fields | moments | {"body": rejection.body.decode(errors="backslashreplace")}
