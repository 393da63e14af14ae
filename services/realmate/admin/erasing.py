"""The work and the output of `realmate erase`."""

from __future__ import annotations

import click
from sqlalchemy import Engine, text

from realmate.admin.database import AdminError
from realmate.conversations.erasing import Erased, erase_conversation, erase_source
from realmate.runtime.transaction import Transactions


def conversation(engine: Engine, source: str, conversation_id: str) -> None:
    """Raises AdminError where there is nothing of it."""
    erased = erase_conversation(Transactions(engine), _number(engine, source), conversation_id)
    if not any(erased):
        raise AdminError(
            f"source {source} has nothing of conversation {conversation_id}{_hint(engine, conversation_id)}"
        )
    click.echo(f"Erased: {_told(erased)}.")


def _hint(engine: Engine, conversation_id: str) -> str:
    """Name the sources that have a conversation of this id, for a person who named no source."""
    with engine.connect() as connection:
        statement = text(
            "SELECT DISTINCT name FROM conversations JOIN sources ON sources.id = source_id"
            " WHERE conversations.id = CAST(:id AS uuid) ORDER BY name"
        )
        names = connection.execute(statement, {"id": conversation_id}).scalars().all()
    return f"; to erase it, say whose it is: --source {' or --source '.join(names)}" if names else ""


def whole_source(engine: Engine, source: str, *, if_exists: bool) -> None:
    """Raises AdminError where there is no such source, unless that is well."""
    total = Erased()
    try:
        source_id = _number(engine, source)
    except AdminError as error:
        if not if_exists:
            raise
        click.echo(f"Nothing to erase: {error}.")
        return
    with engine.connect() as connection:
        statement = text("SELECT count(*) FROM conversations WHERE source_id = :id")
        conversations = connection.execute(statement, {"id": source_id}).scalar_one()
    with click.progressbar(length=conversations, label=f"Erasing {source}", show_pos=True, show_eta=True) as bar:
        for portion in erase_source(Transactions(engine), source_id):
            bar.update(portion.conversations)
            total += portion
    click.echo(f"Erased: {_told(total)}.")


def history(engine: Engine, limit: int) -> None:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT started_at, finished_at, name, reason, conversations, messages, rejections"
                " FROM erasures JOIN sources ON sources.id = source_id ORDER BY erasures.id DESC LIMIT :limit"
            ),
            {"limit": limit},
        ).all()
    for started_at, finished_at, source, reason, *counts in reversed(rows):
        took_s = (finished_at - started_at).total_seconds()
        click.echo(
            f"{started_at:%Y-%m-%d %H:%M:%S}  {took_s:8.1f} s  {source:12}  {reason:12}  {_told(Erased(*counts))}"
        )
    click.echo(f"\n{len(rows)} shown" if rows else "Nothing was ever erased.", err=True)


def _number(engine: Engine, source: str) -> int:
    with engine.connect() as connection:
        number = connection.execute(text("SELECT id FROM sources WHERE name = :name"), {"name": source}).scalar()
    if number is None:
        raise AdminError(f"no event of a source {source} ever came")
    return int(number)


def _told(erased: Erased) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in erased._asdict().items())
