"""The output of `realmate rejections` and `realmate replay`."""

from __future__ import annotations

import sys

import click
import msgspec
from sqlalchemy import Connection

from realmate.admin import rejections
from realmate.admin.database import AdminError
from realmate.admin.rejections import Filter, Rejection
from realmate.admin.replay import Replay, ReplayAction, action_for
from realmate.admin.report import Report
from realmate.wire.printable import printable, printable_json, printable_line


def show_list(connection: Connection, which: Filter, *, limit: int, as_json: bool) -> None:
    found = rejections.newest(connection, which, limit)
    if as_json:
        for rejection in found:
            click.echo(_encoded(rejection))
        return
    for rejection in found:
        code = click.style(f"{rejection.code:24}", fg="red")
        replayed = "" if rejection.replay_status is None else f"  (replayed: {rejection.replay_status})"
        click.echo(
            f"{rejection.id:>8}  {rejection.at:%Y-%m-%d %H:%M:%S}  {rejection.source:12}  {code}"
            f"  {printable_line(rejection.detail)}{replayed}"
        )
    counts = rejections.count(connection, which)
    total = sum(counts.values())
    by_code = ", ".join(f"{number:,} {code}" for code, number in counts.items())
    click.echo(f"\n{len(found):,} of {total:,} shown" + (f": {by_code}" if counts else ""), err=True)


def show_one(connection: Connection, number: int, *, body_only: bool, as_json: bool) -> None:
    """Raises AdminError where there is none."""
    rejection = rejections.find(connection, number)
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


def replay(connection: Connection, which: Filter, run: Replay, report: Report, *, send: bool) -> bool:
    """Show what would be sent, and send it if so told; whether all was answered 2xx. Raises SendError."""
    counts = rejections.count(connection, which)
    plans = {each: sum(number for code, number in counts.items() if action_for(code) is each) for each in ReplayAction}
    for each, number in plans.items():
        codes = ", ".join(code for code in counts if action_for(code) is each)
        click.echo(f"{number:>8,} {each}" + (f" ({codes})" if codes else ""))
    to_send = sum(number for each, number in plans.items() if each is not ReplayAction.NOT_SENT)
    report.total = to_send
    if not send:
        click.echo("\nThis was a dry run: nothing was sent. Add --send to send." if to_send else "\nNothing to send.")
        return True
    if not to_send:
        return True

    click.echo()
    with click.progressbar(length=to_send, label="Sending", show_pos=True, show_eta=True) as bar:
        for rejection in rejections.oldest_first(connection, which):
            if action_for(rejection.code) is not ReplayAction.NOT_SENT:
                rejections.mark_replayed(connection, rejection.id, *run.send(rejection))
                report.sent, report.answers = report.sent + 1, dict(run.answers)
                bar.update(1)
    click.echo("\n" + ", ".join(f"{number:,} answered {answer}" for answer, number in sorted(run.answers.items())))
    return all(answer.startswith("2") for answer in run.answers)


def _show_body(body: bytes) -> None:
    """Print the body as it came, for a file or another program. A terminal gets no control characters."""
    click.echo(printable(body.decode(errors="backslashreplace")) if sys.stdout.isatty() else body)


def _encoded(rejection: Rejection) -> bytes:
    return printable_json(msgspec.json.encode(_as_json(rejection)).decode()).encode()


def _as_json(rejection: Rejection) -> dict[str, object]:
    fields: dict[str, object] = msgspec.structs.asdict(rejection)
    return fields | {"at": rejection.at.isoformat(), "body": rejection.body.decode(errors="backslashreplace")}
