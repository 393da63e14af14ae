"""Conversations and their messages, as a person or a program reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from realmate.wire.printable import printable, printable_json, printable_line

GAP = 2
"""The width between two columns."""
LEAST = 12
"""The least width of the last message. A narrower terminal breaks the lines."""


def show_conversations(conversations: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Show a list, one conversation a row."""
    if as_json:
        for each in conversations:
            click.echo(printable_json(json.dumps(each, ensure_ascii=False)))
        return
    console, rows = _console(), list(conversations)
    widths = {"CONVERSATION": 36, "SOURCE": max([6, *(len(each["source"]) for each in rows)]), "STATUS": 6, "AGE": 4}
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in widths.items():
        table.add_column(name, no_wrap=True, min_width=width, max_width=width)
    rest = console.width - sum(widths.values()) - len(widths) * GAP
    table.add_column("LAST MESSAGE", no_wrap=True, overflow="ellipsis", max_width=max(LEAST, rest))
    for each in rows:
        last = each["last_message"]
        said = Text("(none)", style="dim") if last is None else _said(last["type"], last["excerpt"])
        status = Text(each["status"], style="green" if each["status"] == "OPEN" else "dim")
        table.add_row(each["id"], _line(each["source"]), status, age(each["updated_at"]), said)
    console.print(table if rows else "There is no such conversation.", crop=False)


def show_messages(conversation: Mapping[str, Any], *, as_json: bool) -> None:
    """Show one conversation, one message a row."""
    if as_json:
        click.echo(printable_json(json.dumps(conversation, ensure_ascii=False)))
        return
    console = _console()
    opened, changed = local(conversation["created_at"]), local(conversation["updated_at"])
    console.print(Text(f"{conversation['id']}  {conversation['status']}", style="bold"))
    console.print(f"opened {opened}, changed {changed}, {len(conversation['messages'])} messages shown\n", style="dim")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for each in conversation["messages"]:
        table.add_row(local(each["timestamp"]), _arrow(each["type"]), Text(printable(each["content"])))
    console.print(table)


def event_line(event: Mapping[str, Any]) -> str:
    """Return one event of the feed in one line."""
    message = event["data"].get("message")
    content = f"  {printable_line(message['content'])}" if message else ""
    where = f"{printable_line(event['source'])}  {event['conversation_id']}"
    return f"{local(event['timestamp'])}  {where}  {event['type']}{content}"


def local(moment: str) -> str:
    """Return a moment of the API in this machine's time zone, to the second."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(moment: str) -> str:
    """Return how long ago a moment of the API was, in its largest unit: 5s, 3m, 2h, 4d."""
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=False)


def _said(kind: str, content: str) -> Text:
    return Text.assemble(_arrow(kind), " ", _line(content))


def _arrow(kind: str) -> Text:
    return Text("<", style="cyan") if kind == "INBOUND" else Text(">", style="magenta")


def _line(text: str) -> Text:
    return Text(printable_line(text))
