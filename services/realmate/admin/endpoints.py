"""Endpoints as a person at a terminal sees them: their state, and their last attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

from realmate.admin.endpoint_states import COUNTED_AT_MOST, EndpointState
from realmate.admin.tables import local
from realmate.sources.endpoints import Endpoint
from realmate.wire.printable import printable_json, printable_line

_ATTEMPTS = """
    SELECT at, type, CAST(conversation_id AS text) AS conversation_id, event_id, attempt, outcome, status, took_ms,
        failure, answer
    FROM delivery_attempts WHERE endpoint_id = :id ORDER BY id DESC LIMIT :limit
"""


def show_list(found: list[EndpointState], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            click.echo(_encoded(msgspec.to_builtins(each)))
        return
    console = Console(highlight=False, soft_wrap=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("ENDPOINT", "STATE", "SINCE", "WAITING", "BEHIND", "URL"):
        table.add_column(name, no_wrap=name != "URL")
    for each in found:
        table.add_row(
            printable_line(each.name),
            each.state if each.pause_reason is None else f"{each.state} ({each.pause_reason})",
            "" if each.since is None else local(each.since.isoformat()),
            f"{each.waiting:,}{'+' if each.waiting == COUNTED_AT_MOST else ''}",
            f"{each.behind:,}",
            printable_line(each.url or ""),
        )
    console.print(table if found else "There is no endpoint.", crop=False)


def show_one(
    connection: Connection, found: EndpointState, endpoint: Endpoint | None, limit: int, *, as_json: bool
) -> None:
    """Show an endpoint with its settings and its last attempts, the very last one at the end."""
    rows = connection.execute(text(_ATTEMPTS), {"id": found.id, "limit": limit}).mappings().all()
    attempts = [
        dict(row) | {"answer": bytes(row["answer"]).decode(errors="backslashreplace")} for row in reversed(rows)
    ]
    settings = {} if endpoint is None else _settings(endpoint)
    if as_json:
        document = msgspec.to_builtins(found) | {"settings": settings, "attempts": attempts}
        click.echo(_encoded(msgspec.to_builtins(document)))
        return
    for name, value in (msgspec.to_builtins(found) | settings).items():
        if value is not None and name != "id":
            click.echo(f"{name:16}  {printable_line(str(value))}")
    click.echo(f"\n{len(attempts)} attempts, the last one at the end:" if attempts else "\nNothing was sent lately.")
    for each in attempts:
        _show_attempt(each)


def _show_attempt(each: Mapping[str, Any]) -> None:
    outcome = click.style(f"{each['outcome']:9}", fg="green" if each["outcome"] == "delivered" else "red")
    said = f"{each['status'] or '':>3}  {each['took_ms']:>6} ms  {printable_line(each['failure'])}"
    where = f"{each['type']:21}  {each['conversation_id']}  attempt {each['attempt']}"
    click.echo(f"{local(each['at'].isoformat())}  {outcome}  {where}  {said}".rstrip())
    if each["answer"] and each["outcome"] != "delivered":
        click.echo(f"    {printable_line(each['answer'])[:200]}")


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "events": sorted(endpoint.events) if endpoint.events else "all",
        "sources": sorted(endpoint.sources) if endpoint.sources else "all",
        "schedule": list(endpoint.schedule_s),
        "timeout_s": endpoint.timeout_s,
        "concurrency": endpoint.concurrency,
        "rate": None if endpoint.rate is None else endpoint.rate.events_per_s,
        "pause_after_h": endpoint.pause_after_s / 3600,
        "allow_private": endpoint.allow_private,
    }


def _encoded(document: Any) -> str:
    return printable_json(msgspec.json.encode(document).decode())
