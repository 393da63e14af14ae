"""A conversation belongs to the source that opened it: to another source it does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import pytest

from realmate.domain.events import Verdict
from store import PATIENT, Store, closing, inbound, open_store, opening, replied, saying


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


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
    store.apply(opening(key), saying(key))  # the default source is the first of all
    view = store.view(key)
    assert view is not None
    assert len(view.messages) == 1


def test_a_new_source_s_name_gets_one_number_however_many_ask_at_once(store: Store, key: str) -> None:
    name = f"source-{uuid4().hex[:8]}"
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda _: partial(store.apply, opening(key, name))(), range(8)))
    assert sorted(verdicts) == [[Verdict.CONVERSATION_EXISTS]] * 7 + [[Verdict.CREATED]]
    assert store.scalar(f"SELECT count(*) FROM sources WHERE name = '{name}'") == 1  # noqa: S608 (its own name)
