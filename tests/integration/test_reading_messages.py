"""`GET /conversations/{id}/messages/`: a conversation's messages page by page, by their positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from reading import Client, start_with_readers

MESSAGES = 7


class Pages(Client):
    def conversation(self, source: str = "default", *, contents: tuple[str, ...], key: str = "") -> str:
        key = self.opened(source, key)
        for content in contents:
            self.say(key, content, source)
        return key

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.fetch(path, **parameters)

    def page(self, key: str, **parameters: Any) -> dict[str, Any]:
        answer = self.get(f"/conversations/{key}/messages/", **parameters)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert (body["next"] is None) == ("Link" not in answer.headers)
        return body

    def walk(self, key: str, **parameters: Any) -> list[list[int]]:
        """The positions of each page, as its `next` leads on."""
        page = self.page(key, **parameters)
        pages = [positions(page)]
        while page["next"]:
            page = self.get(page["next"]).json()
            pages.append(positions(page))
        return pages


def positions(page: dict[str, Any]) -> list[int]:
    return [each["position"] for each in page["items"]]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pages, Pages]]:
    """One that may read everything, and one that may read the source `shop`."""
    directory, sources = tmp_path_factory.mktemp("messages"), ("default", "shop", "store")
    with start_with_readers(directory, *sources, GROUP_WINDOW_S="600") as (installation, everyone, shop):
        yield Pages(installation, everyone), Pages(installation, shop)


@pytest.fixture
def pages(readers: tuple[Pages, Pages]) -> Pages:
    return readers[0]


@pytest.fixture(scope="module")
def key(readers: tuple[Pages, Pages]) -> str:
    """A conversation with seven messages, which is closed: so it has a reply, too."""
    pages, _ = readers
    key = pages.conversation(contents=tuple(f"Mensagem {number}" for number in range(MESSAGES)))
    pages.post("CLOSE_CONVERSATION", id=key)
    return key


def test_all_come_in_the_order_of_their_positions(pages: Pages, key: str) -> None:
    page = pages.page(key)
    assert positions(page) == list(range(1, MESSAGES + 2))
    assert page["next"] is None
    shown = pages.get(f"/conversations/{key}/").json()["messages"]
    assert [{name: each[name] for name in shown[0]} for each in page["items"]] == shown


def test_pages_lead_on_in_both_directions_and_every_message_comes_once(pages: Pages, key: str) -> None:
    assert pages.walk(key, limit=3) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert pages.walk(key, limit=3, before=2**31 - 1) == [[6, 7, 8], [3, 4, 5], [1, 2]]
    assert pages.walk(key, limit=8) == [list(range(1, 9))]
    assert positions(pages.page(key, after=6)) == [7, 8]
    assert positions(pages.page(key, after=2, before=5)) == [3, 4]


def test_a_type_is_chosen_and_a_page_of_it_may_be_empty(pages: Pages, key: str) -> None:
    assert positions(pages.page(key, type="OUTBOUND")) == [MESSAGES + 1]
    assert pages.page(key, type="OUTBOUND", before=5) == {"items": [], "next": None}
    assert pages.walk(key, type="INBOUND", limit=4) == [[1, 2, 3, 4], [5, 6, 7]]


def test_large_contents_make_small_pages(pages: Pages) -> None:
    key = pages.conversation(contents=tuple("é" * 65_536 for _ in range(12)))
    walked = pages.walk(key)
    assert len(walked) == 2
    assert [position for page in walked for position in page] == list(range(1, 13))


def test_a_conversation_without_messages_has_an_empty_page(pages: Pages) -> None:
    assert pages.page(pages.conversation(contents=())) == {"items": [], "next": None}


def test_a_token_and_a_source_choose_the_conversation(readers: tuple[Pages, Pages]) -> None:
    everyone, shop = readers
    shared = everyone.conversation("shop", contents=("da loja",))
    path = f"/conversations/{shared}/messages/"
    everyone.conversation("store", contents=("do armazém",), key=shared)
    assert everyone.get(path).json()["code"] == "ambiguous_source"
    assert everyone.page(shared, source="store")["items"][0]["content"] == "do armazém"
    assert shop.page(shared)["items"][0]["content"] == "da loja"
    assert shop.get(path, source="store").status_code == 404, "to this token, it does not exist"
    assert requests.get(everyone.url + path, timeout=15).status_code == 401


@pytest.mark.parametrize("wrong", ["00000000-0000-4000-8000-000000000000", "1", "messages"])
def test_what_does_not_exist_is_not_found(pages: Pages, wrong: str) -> None:
    answer = pages.get(f"/conversations/{wrong}/messages/")
    assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")
    assert pages.get(f"/conversations/{wrong}/others/").json()["code"] == "not_found"


@pytest.mark.parametrize(
    "query",
    ["afer=1", "after=-1", "after=x", "limit=0", "limit=1001", "type=HELD", "before=1&before=2", "source=a&source=b"],
)
def test_a_wrong_parameter_is_named(pages: Pages, key: str, query: str) -> None:
    answer = pages.get(f"/conversations/{key}/messages/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
    assert {error["field"] for error in answer.json()["errors"]} == {query.partition("=")[0]}
