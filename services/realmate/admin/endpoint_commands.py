"""The commands about endpoints: `realmate endpoints …` and `realmate trigger`.

They are at the database, with the endpoints of SOURCES_FILE. What sends, sends from here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from realmate.admin.moments import Moment
from realmate.admin.waiting import patiently, wait_option, wait_s
from realmate.domain.changes import EVENT_TYPES
from realmate.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from realmate.deliveries.pausing import Found
    from realmate.runtime.transaction import Transactions
    from realmate.sources.endpoint_file import Endpoints
    from realmate.sources.endpoints import Endpoint


class NoSuchEndpoint(UserError):
    """There is no endpoint of this name; the message says where it was looked for."""


class CannotGoOn(UserError):
    """The endpoint cannot do that now; the message says why, and what to do."""


@click.group()
def endpoints() -> None:
    """The receivers that are told what happened (docs/endpoints.md): those in SOURCES_FILE, and their state.

    The state is in the database at DATABASE_URL, or that of `realmate up` here.
    """


@endpoints.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@wait_option()
def list_endpoints(*, as_json: bool) -> None:
    """List them, each with its state, and how much waits."""
    from realmate.admin.endpoint_states import states
    from realmate.admin.endpoints import show_list

    with _database() as engine, engine.connect() as connection:
        show_list(states(connection, _urls(_named())), as_json=as_json)


@endpoints.command("show")
@click.argument("name")
@click.option("--attempts", default=10, show_default=True, type=click.IntRange(0, 1500), help="So many, the last ones.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@wait_option()
def show_endpoint(name: str, *, attempts: int, as_json: bool) -> None:
    """Show one with its settings, and its last attempts with what was answered."""
    from realmate.admin.endpoint_states import states
    from realmate.admin.endpoints import show_one

    named = _named()
    with _database() as engine, engine.connect() as connection:
        for each in states(connection, _urls(named)):
            if each.name == name:
                return show_one(connection, each, named.get(name), attempts, as_json=as_json)
    raise NoSuchEndpoint(f"neither SOURCES_FILE nor the database has an endpoint {name}")


@endpoints.command("test")
@click.argument("name")
def test_endpoint(name: str) -> None:
    """Send NAME a sample of the first event that it wants, and show the answer. The exit code is 1 if it is not 2xx."""
    from realmate.admin.samples import first_wanted, send

    endpoint = _endpoint(name)
    sys.exit(0 if send(endpoint, first_wanted(endpoint)) else 1)


@endpoints.command("pause")
@click.argument("name")
@wait_option()
def pause_endpoint(name: str) -> None:
    """Send NAME nothing more. Its deliveries wait, and its place in the feed stands still."""
    from realmate.deliveries.pausing import pause

    with _found(name) as (db, found), db.begin() as transaction:
        was = f" already ({found.pause_reason})" if not pause(transaction, found) else ""
        transaction.commit()
    click.echo(f"{name} is paused{was}. `realmate endpoints resume {name}` lets it go on.")


@endpoints.command("resume")
@click.argument("name")
@wait_option()
def resume_endpoint(name: str) -> None:
    """Let NAME go on from its place in the feed, with all of its retries at once."""
    from realmate.deliveries.pausing import PlaceForgotten, resume

    with _found(name) as (db, found), _feed_begun(), db.begin() as transaction:
        try:
            resume(db, transaction, found)
            transaction.commit()
        except PlaceForgotten as forgotten:
            raise CannotGoOn(
                f"the feed is not kept any more from the place of {name} on. To make the deliveries from the"
                f" conversations: realmate endpoints recover {name} --since {forgotten.since:%Y-%m-%dT%H:%M:%SZ}"
            ) from None
    click.echo(f"{name} goes on.")


@endpoints.command("recover")
@click.argument("name")
@click.option("--since", required=True, type=Moment(), help="From when on: 2026-01-31T12:00, or 2h (ago).")
@wait_option()
def recover_endpoint(name: str, *, since: datetime) -> None:
    """Send NAME all that happened since a moment, from the conversations themselves, and let it go on.

    For an endpoint that was paused for longer than the feed is kept. It gets again what it had; the ids are the same.
    Interrupted, the command may be run again.
    """
    from realmate.deliveries.recovering import recover

    endpoint, total = _endpoint(name), 0
    with _found(name) as (db, found), _feed_begun():
        for events in recover(db, found.id, endpoint, since):
            total += events
            if sys.stderr.isatty():
                click.echo(f"\r{total:,} events ...", nl=False, err=True)
    click.echo(f"{name} goes on, and is sent {total:,} events of before.")


@click.command("trigger")
@click.argument("event", type=click.Choice(EVENT_TYPES))
@click.option("--endpoint", "names", multiple=True, help="To this one; can be repeated. Default: all that want EVENT.")
def trigger(event: str, names: tuple[str, ...]) -> None:
    """Send a sample of EVENT to the endpoints in SOURCES_FILE, and show what they answer.

    The exit code is 1 if any answer is not 2xx.

    \b
    Examples:
      realmate trigger reply.created
      realmate trigger conversation.closed --endpoint crm
    """
    from realmate.admin.samples import send

    if names:
        chosen = [_endpoint(name) for name in names]
    else:
        chosen = [each for each in _named().values() if each.events is None or event in each.events]
    if not chosen:
        raise NoSuchEndpoint(f"SOURCES_FILE names no endpoint that wants {event}")
    taken = [send(endpoint, event) for endpoint in chosen]
    sys.exit(0 if all(taken) else 1)


def _named() -> Endpoints:
    """Return the endpoints that SOURCES_FILE names now."""
    from realmate.runtime.settings import load
    from realmate.sources.endpoint_file import read_endpoints

    settings = load()
    return read_endpoints(settings.sources_file, allow_private=settings.endpoints_allow_private)


def _urls(named: Endpoints) -> dict[str, str]:
    return {name: each.url for name, each in named.items()}


def _endpoint(name: str) -> Endpoint:
    """Raises NoSuchEndpoint."""
    named = _named()
    if name not in named:
        known = f"; it has {', '.join(sorted(named))}" if named else ""
        raise NoSuchEndpoint(f"SOURCES_FILE has no endpoint {name}{known}")
    return named[name]


@contextmanager
def _database() -> Iterator[Engine]:
    from sqlalchemy import text

    from realmate.admin.database import AdminError, opened, reach

    url = click.get_current_context().obj()
    if url is None:
        raise CannotGoOn("DATABASE_URL is not set, and no `realmate up` runs here")
    patiently(lambda: reach(url), wait_s())
    with opened(url) as engine:
        with engine.connect() as connection:
            if connection.execute(text("SELECT to_regclass('endpoints')")).scalar() is None:
                raise AdminError("the database is not that of this version: run `realmate migrate`")
        yield engine


@contextmanager
def _found(name: str) -> Iterator[tuple[Transactions, Found]]:
    """Yield the database, and an endpoint's row there. Raises NoSuchEndpoint."""
    from realmate.deliveries.pausing import find
    from realmate.runtime.transaction import Transactions

    with _database() as engine:
        db = Transactions(engine)
        found = find(db, name)
        if found is None:
            raise NoSuchEndpoint(f"the database has no endpoint {name}; has `deliveries` read it in SOURCES_FILE yet?")
        yield db, found


@contextmanager
def _feed_begun() -> Iterator[None]:
    """Say in one line that the feed cannot be read now."""
    from realmate.feed.reading import FeedStarting

    try:
        yield
    except FeedStarting as error:
        raise CannotGoOn(str(error)) from None


COMMANDS: tuple[Any, ...] = (endpoints, trigger)
