"""A conversation belongs to the source that opened it: to another source it does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from realmate.domain.events import Verdict
from realmate.query.reads import _CONVERSATIONS, Ambiguous, Tagged, Wanted, read
from realmate.runtime.transaction import Statement, Transactions
from store import PATIENT, Store, closing, inbound, open_store, opening, replied, saying


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


class CountingTransactions(Transactions):
    """It counts what Postgres returned."""

    rows = 0

    def fetch(self, statement: Statement, *values: object) -> list[tuple[Any, ...]]:
        found = super().fetch(statement, *values)
        self.rows += len(found)
        return found


@pytest.fixture
def key() -> str:
    return str(uuid4())


def test_two_sources_may_use_one_id_and_know_nothing_of_each_other(store: Store, key: str) -> None:
    assert store.apply(opening(key, "shop"), opening(key, "store")) == [Verdict.CREATED, Verdict.CREATED]
    assert store.apply(opening(key, "shop")) == [Verdict.CONVERSATION_EXISTS]
    message_id = str(uuid4())
    commands = [
        saying(key, content, message_id=message_id, source=source)
        for source, content in (("shop", "Oi"), ("store", "Olá"))
    ]
    assert store.apply(*commands) == [Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert store.apply(*commands) == [Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert store.apply(closing(key, "shop")) == [Verdict.CLOSED]
    shop, other = store.view(key, "shop"), store.view(key, "store")
    assert shop is not None
    assert other is not None
    assert ([shop.status, replied(shop)], [other.status, replied(other)]) == (
        ["CLOSED", [[message_id]]],
        ["OPEN", []],
    )
    assert (shop.messages[0].content, other.messages[0].content) == ("Oi", "Olá")


def test_another_source_s_conversation_is_as_if_it_were_not_there(store: Store, key: str) -> None:
    store.apply(opening(key, "shop"))
    assert store.apply(closing(key, "store")) == [Verdict.CONVERSATION_NOT_FOUND]
    assert store.apply(saying(key, source="store")) == [Verdict.HELD]
    view = store.view(key, "shop")
    assert view is not None
    assert view.messages == []
    assert store.view(key, "store") is None


def test_a_message_held_for_one_source_does_not_enter_the_other_s_conversation(store: Store, key: str) -> None:
    message_id = str(uuid4())
    early = {source: saying(key, message_id=message_id, source=source) for source in ("shop", "store")}
    assert store.apply(*early.values()) == [Verdict.HELD, Verdict.HELD]
    for source in early:
        assert store.view(key, source) is None
        assert store.apply(opening(key, source)) == [Verdict.CREATED]
        view = store.view(key, source)
        assert view is not None
        assert inbound(view) == [message_id]


def test_a_reader_who_names_no_source_gets_the_one_there_is(store: Store, key: str) -> None:
    assert store.view(key) is None
    store.apply(opening(key, "shop"))
    view = store.view(key)
    assert view is not None
    assert view == store.view(key, "shop")
    assert store.view(key, "default") is None


def test_a_reader_of_several_sources_with_one_id_is_asked_which_he_means(store: Store, key: str) -> None:
    """Whoever sent first, and the default source, have no precedence: one of them may be forged."""
    for source in ("shop", "default", "another"):
        store.apply(opening(key, source), saying(key, f"of {source}", source=source))
    everyone, two, one = Wanted(key), Wanted(key, frozenset({"shop", "default"})), Wanted(key, frozenset({"shop"}))
    found = read(store.db, [everyone, two, one])
    assert found[everyone] == Ambiguous(("another", "default", "shop"))
    assert found[two] == Ambiguous(("default", "shop"))
    shown = found[one]
    assert isinstance(shown, Tagged)
    assert shown.view == store.view(key, "shop")


def test_of_another_source_s_conversation_nothing_is_read(store: Store, key: str) -> None:
    """The time of an answer tells nothing, since Postgres looks at the index and returns nothing."""
    shared = str(uuid4())
    for conversation_id in (key, shared):
        store.apply(opening(conversation_id, "shop"), *(saying(conversation_id, source="shop") for _ in range(50)))
    store.apply(opening(shared, "store"))
    db = CountingTransactions(store.engine)
    assert read(db, [Wanted(key, frozenset({"store"})), Wanted(str(uuid4()), frozenset({"store"}))]) == {}
    assert db.rows == 0
    mixed = [Wanted(key), Wanted(key, frozenset({"store"})), Wanted(shared, frozenset({"store"})), Wanted(shared)]
    found = read(db, mixed)
    assert set(found) == {mixed[0], mixed[2], mixed[3]}
    assert db.rows == 50 + 1 + 2  # all of the first, the empty one, and of both that fit the last no message


def test_reading_looks_at_indexes_alone(store: Store) -> None:
    store.execute(
        "INSERT INTO conversations (id, source_id, status, last_seq)"
        " SELECT gen_random_uuid(), 0, 1, 1 FROM generate_series(1, 20000)"
    )
    store.execute(
        "INSERT INTO messages (id, source_id, conversation_id, seq, kind, content, timestamp, arrived_at)"
        " SELECT gen_random_uuid(), 0, id, 1, 1, 'Oi', now(), now() FROM conversations"
    )
    store.execute("ANALYZE")
    with store.engine.connect() as connection:
        connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        types = ", ".join(_CONVERSATIONS.types)
        connection.exec_driver_sql(f"PREPARE reading ({types}) AS {_CONVERSATIONS.text}")
        rows = connection.exec_driver_sql("EXPLAIN EXECUTE reading ('{}', '{}', '{}', '{}', '{}', 1000000)")
        plan = "\n".join(row[0] for row in rows)
    assert plan.count("using conversations_pkey") == 2
    assert "using messages_in_conversation" in plan
    assert not re.search("Seq Scan on (conversations|messages)", plan)


def test_a_new_source_s_name_gets_one_number_however_many_ask_at_once(store: Store, key: str) -> None:
    name = f"source-{uuid4().hex[:8]}"
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda _: partial(store.apply, opening(key, name))(), range(8)))
    assert sorted(verdicts) == [[Verdict.CONVERSATION_EXISTS]] * 7 + [[Verdict.CREATED]]
    assert store.scalar(f"SELECT count(*) FROM sources WHERE name = '{name}'") == 1  # noqa: S608 (its own name)
