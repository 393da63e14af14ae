"""`GET /changes/` as a stream, over HTTP with all services running: order, resuming, slow readers, tokens, drain."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from hashlib import md5
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from event_streams import EventStream, Sent, feed_pages
from installation import Installation, start_installation
from reading import Client
from realmate.conversations.change_statements import touched
from realmate.conversations.erasing import erase_conversation
from realmate.domain.changes import What
from realmate.domain.model import DEFAULT_SOURCE_ID
from realmate.query import tail
from realmate.sources import tokens
from store import QUICK, open_store

SOURCES = "[sources.default]\n[sources.shop]\n[sources.store]\n"
WINDOW_S = 0.3
HARD = 'linha um\nlinha dois\r\n\u2028\u2029\x85 "aspas" \\ é 🙂 data: x\n\nid: y'


class Place(Client):
    """One installation, with tokens in a file that tests may change."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        super().__init__(installation)
        self._file = directory / "tokens.toml"
        self._entries: dict[str, str] = {}

    def token(self, name: str, *sources: str) -> str:
        made = tokens.make()
        self._entries[name] = tokens.entry(name, made, ["read"], sources)
        self.write_tokens()
        return made

    def take_away(self, name: str) -> None:
        del self._entries[name]
        self.write_tokens()

    def write_tokens(self) -> None:
        self._file.write_text("\n\n".join(self._entries.values()))

    def pages(self, token: str, after: str = "oldest", limit: int = 7) -> list[dict[str, Any]]:
        """All events from the cursor to the end of the feed, page by page."""
        return feed_pages(self.url, token=token, after=after, limit=limit)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("streams")
    (directory / "sources.toml").write_text(SOURCES)
    (directory / "tokens.toml").write_text(tokens.entry("first", tokens.make(), ["read"], []))
    settings: dict[str, Any] = {
        name.upper() + "_FILE": str(directory / f"{name}.toml") for name in ("sources", "tokens")
    }
    with start_installation(directory, GROUP_WINDOW_S=str(WINDOW_S), **settings) as installation:
        yield Place(installation, directory)


@pytest.fixture(scope="module")
def token(place: Place) -> str:
    made = place.token("everyone")
    begun(place.installation, made)
    return made


def begun(installation: Installation, token: str = "") -> str:
    """Return the URL of an installation when its feed has begun, and the token is known there."""
    url = installation.intake.url
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    give_up_at = time.monotonic() + 20
    while requests.get(f"{url}/changes/", headers=headers, timeout=15).status_code != 200:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    return url


def types(sent: list[Sent]) -> list[str]:
    return [each.data["type"] for each in sent]


def test_a_stream_tells_what_comes_and_says_when_it_is_at_the_end(place: Place, token: str) -> None:
    with EventStream(place.url, token=token) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
        assert stream.until_caught_up() == []
        assert stream.retries == [2000]
        key = place.opened()
        place.say(key, HARD)
        sent = stream.take(3)
        assert types(sent) == ["conversation.opened", "message.received", "reply.created"]
        assert sent[1].data["data"]["message"]["content"] == HARD
        assert {each.data["conversation_id"] for each in sent} == {key}


def test_whoever_comes_back_goes_on_where_he_was(place: Place, token: str) -> None:
    with EventStream(place.url, token=token) as stream:
        stream.until_caught_up()
        keys = [place.opened() for _ in range(6)]
        first = stream.take(2)
    with EventStream(place.url, "after=oldest", token=token, last_event_id=first[-1].id) as stream:
        assert [each.data["conversation_id"] for each in stream.take(4)] == keys[2:]
        keys.append(place.opened())
        assert stream.take(1)[0].data["conversation_id"] == keys[-1]
    with EventStream(place.url, f"after={first[0].id}", token=token) as stream:
        assert [each.data["conversation_id"] for each in stream.until_caught_up()] == keys[1:]


def write_at_random(place: Place, seed: int, stop: threading.Event) -> int:
    """Return how many messages were sent."""
    chance, keys, written = random.Random(seed), [place.opened()], 0
    while not stop.is_set():
        if chance.random() < 0.2:
            keys.append(place.opened())
        place.say(chance.choice(keys), "x" * chance.choice([10, 100, 20_000]))
        written += 1
    for key in keys:
        place.post("CLOSE_CONVERSATION", id=key)
    return written


def test_streams_and_pages_tell_the_same_whoever_writes_meanwhile(place: Place, token: str) -> None:
    """Four writers; one stream from the beginning, one that breaks off and comes back again and again, one slow one."""
    with EventStream(place.url, token=token) as stream:
        stream.until_caught_up()
        start = stream.last_id
    stop = threading.Event()

    def come_back() -> list[str]:
        seen: list[str] = []
        last = start
        for number in range(1_000):
            with EventStream(place.url, token=token, last_event_id=last) as stream:
                if stop.is_set():
                    return seen + [each.data["id"] for each in stream.until_caught_up()]
                taken = stream.take(1 + number % 9)
                seen += [each.data["id"] for each in taken]
                last = taken[-1].id
        raise AssertionError("it never ends")

    def dawdle() -> list[str]:
        seen: list[str] = []
        with EventStream(place.url, f"after={start}", token=token, receive_buffer=4096) as stream:
            while not stop.is_set():
                time.sleep(0.2)
                seen += [each.data["id"] for each in stream.take(3)]
            last = stream.last_id
        with EventStream(place.url, f"after={last}", token=token) as stream:
            return seen + [each.data["id"] for each in stream.until_caught_up()]

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write_at_random, place, seed, stop) for seed in range(4)]
        time.sleep(0.5)  # so that those who read have something to read
        coming, dawdling = pool.submit(come_back), pool.submit(dawdle)
        with EventStream(place.url, f"after={start}", token=token) as stream:
            seen = [each.data["id"] for each in stream.take(150, timeout_s=60)]
            time.sleep(1)
            stop.set()
            messages = sum(writer.result() for writer in writers)
            time.sleep(WINDOW_S + 2)
            told = place.pages(token, start)
            seen += [each.data["id"] for each in stream.take(len(told) - len(seen))]
        wanted = [each["id"] for each in told]
        assert len(wanted) == len(set(wanted)) > messages
        assert seen == wanted
        for others in (coming.result(), dawdling.result()):
            assert others == wanted[: len(others)], "the same, in the same order, each once"
            assert len(others) > messages


def test_source_type_and_conversation_choose_and_a_token_hides(place: Place, token: str) -> None:
    shop = place.token("shop", "shop")
    time.sleep(1.5)
    mine, other = place.opened("shop"), place.opened("store")
    with ExitStack() as stack:

        def follow(query: str = "", token: str = token) -> EventStream:
            stream = stack.enter_context(EventStream(place.url, query, token=token))
            assert stream.status == 200
            stream.until_caught_up()
            return stream

        said = "type=message.received"
        everything, of_shop, hidden = follow(said), follow(said, shop), follow("source=store", shop)
        replies = follow("type=reply.created")
        one, two = follow(f"{said}&conversation={other}"), follow(f"{said}&conversation={other}&conversation={mine}")
        place.say(mine, "minha", "shop")
        place.say(other, "outra", "store")
        contents = ["minha", "outra"]
        assert [each.data["data"]["message"]["content"] for each in everything.take(2)] == contents
        assert [each.data["data"]["message"]["content"] for each in two.take(2)] == contents
        assert [each.data["data"]["message"]["content"] for each in one.take(1)] == ["outra"]
        assert [each.data["data"]["message"]["content"] for each in of_shop.take(1)] == ["minha"]
        assert types(replies.take(2)) == ["reply.created"] * 2
        with pytest.raises(TimeoutError):
            hidden.next(0.5)


def test_a_token_that_is_taken_away_ends_its_streams(place: Place, token: str) -> None:
    doomed = place.token("doomed")
    time.sleep(1.5)
    with EventStream(place.url, token=doomed) as stream, EventStream(place.url, token=token) as other:
        stream.until_caught_up()
        other.until_caught_up()
        place.take_away("doomed")
        assert stream.until_end() == []
        key = place.opened()
        assert other.take(1)[0].data["conversation_id"] == key
    with EventStream(place.url, token=doomed) as stream:
        assert stream.status == 401


@pytest.mark.parametrize(
    ("query", "last_event_id", "field"),
    [
        ("", "rubbish", "last-event-id"),
        ("after=rubbish", "", "after"),
        ("wait=1", "", "wait"),
        ("limit=1", "", "limit"),
        ("type=message", "", "type"),
    ],
)
def test_what_is_wrong_is_named(place: Place, token: str, query: str, last_event_id: str, field: str) -> None:
    with EventStream(place.url, query, token=token, last_event_id=last_event_id) as stream:
        assert stream.status == 400
        problem = json.loads(stream.body())
    assert (problem["code"], [error["field"] for error in problem["errors"]]) == ("invalid_query", [field])


def test_a_client_of_http_1_0_and_one_that_closes_its_side(place: Place, token: str) -> None:
    with EventStream(place.url, token=token, version="1.0") as old, EventStream(place.url, token=token) as half:
        assert "transfer-encoding" not in old.headers
        half.half_close()
        key = place.opened()
        for stream in (old, half):
            assert stream.take(1)[0].data["conversation_id"] == key
    with EventStream(place.url, token=token, method="HEAD") as stream:
        assert stream.status == 200
        with pytest.raises(ConnectionError):
            stream.next()


def test_a_reader_that_does_not_read_is_no_burden_and_misses_nothing(place: Place, token: str) -> None:
    """It is sent what its buffers take, and later reads on from its own place; a reader beside it waits for nothing."""
    key = place.opened()
    with (
        EventStream(place.url, f"conversation={key}", token=token, receive_buffer=4096) as stuck,
        EventStream(place.url, f"conversation={key}&type=message.received", token=token) as quick,
    ):
        stuck.until_caught_up()
        quick.until_caught_up()
        for number in range(60):
            place.say(key, f"{number} " + "é" * 60_000)
            assert quick.take(1)[0].data["data"]["message"]["content"].startswith(f"{number} ")
        held = _metric(place, "realmate_http_held_bytes")
        assert held < 1_000_000, "of seven million bytes"
        received = [each for each in stuck.take(60, timeout_s=60) if each.data["type"] == "message.received"]
        numbers = [int(each.data["data"]["message"]["content"].split()[0]) for each in received]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 50


def _metric(place: Place, name: str) -> float:
    """A gauge, as the process itself sees it. (With tokens, metrics are for administrators.)"""
    admin = tokens.make()
    place._entries["admin"] = tokens.entry("admin", admin, ["admin"], [])  # noqa: SLF001 (a helper of the same tests)
    place.write_tokens()
    give_up_at = time.monotonic() + 10
    while True:
        answer = requests.get(f"{place.url}/metrics", headers={"Authorization": f"Bearer {admin}"}, timeout=15)
        if answer.ok:
            [line] = [line for line in answer.text.splitlines() if line.startswith(f"{name} ")]
            return float(line.split()[1])
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def test_what_is_erased_is_told_and_its_contents_are_told_no_more(place: Place, token: str) -> None:
    with EventStream(place.url, token=token) as stream, open_store(place.installation.postgres.url, QUICK) as store:
        stream.until_caught_up()
        start = stream.last_id
        key = place.opened()
        place.say(key, "segredo")
        assert types(stream.take(3))[1] == "message.received"
        erase_conversation(store.db, DEFAULT_SOURCE_ID, key)
        assert types(stream.take(1)) == ["conversation.erased"]
        with EventStream(place.url, f"after={start}", token=token) as later:
            assert types(later.until_caught_up()) == ["conversation.opened", "conversation.erased"]


def test_a_cursor_that_is_too_old_is_told_so_and_the_stream_goes_on_from_now(place: Place, token: str) -> None:
    with EventStream(place.url, token=token) as stream:
        stream.until_caught_up()
        place.opened()
        place.opened()
        start, kept = stream.take(2)
    with open_store(place.installation.postgres.url, QUICK) as store:
        store.execute("DELETE FROM changes WHERE position < (SELECT position FROM feed)")
    for _ in range(8):  # until the process has forgotten the tail of before
        time.sleep(0.25)
    with EventStream(place.url, token=token, last_event_id=start.id) as stream:
        sent = stream.next()
        assert (sent.name, sent.data["code"]) == ("reset", "cursor_expired")
        assert stream.next().name == "caught_up"
        key = place.opened()
        assert stream.take(1)[0].data["conversation_id"] == key
    with EventStream(place.url, f"after={sent.data['oldest']}", token=token) as stream:
        assert [each.data["conversation_id"] for each in stream.until_caught_up()] == [
            kept.data["conversation_id"],
            key,
        ]


def test_transactions_that_stay_open_hold_no_stream_up(place: Place, token: str) -> None:
    """One that has written, and one that still looks at an old snapshot: neither is any of ours."""
    with ExitStack() as stack:
        writer, reader = (stack.enter_context(closing(psycopg2.connect(place.installation.postgres.url))) for _ in "ab")
        writer.cursor().execute("CREATE TABLE foreign_to_us AS SELECT pg_current_xact_id()")
        reader.set_session(isolation_level="REPEATABLE READ")
        reader.cursor().execute("SELECT count(*) FROM changes")
        stream = stack.enter_context(EventStream(place.url, token=token))
        stream.until_caught_up()
        keys = [place.opened() for _ in range(3)]
        assert [each.data["conversation_id"] for each in stream.take(3)] == keys
        with EventStream(place.url, f"after={stream.last_id}", token=token) as later:
            key = place.opened()
            assert later.take(1)[0].data["conversation_id"] == key


PAST = (
    "INSERT INTO changes (at, touched) SELECT clock_timestamp(), string_agg("  # noqa: S608 (constants of ours)
    + touched("CAST(md5(CAST(number AS text)) AS uuid)", str(DEFAULT_SOURCE_ID), "0", What.OPENED)
    + ", CAST('' AS bytea) ORDER BY number) FROM generate_series(0, {last}) AS number"
    " GROUP BY number / {each} ORDER BY min(number)"
)
"""This statement adds changes, with so many conversations each that were opened."""


def past(last: int) -> list[str]:
    """Return the ids of those conversations, in their order."""
    digests = (md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(last + 1))
    return [str(uuid.UUID(digest)) for digest in digests]


@pytest.mark.parametrize("each", [1, 500], ids=["many small changes", "few large ones"])
def test_a_stream_says_that_it_is_at_the_end_when_it_is(tmp_path: Path, each: int) -> None:
    """The first reader comes when the process has nothing of the feed in memory yet."""
    last = 12_000
    with start_installation(tmp_path) as installation:
        url = begun(installation)
        with open_store(installation.postgres.url, QUICK) as store:
            store.execute(PAST.format(last=last, each=each))
            give_up_at = time.monotonic() + 20
            while store.scalar("SELECT EXISTS (SELECT FROM changes WHERE position IS NULL)"):
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
        with EventStream(url, "after=oldest") as stream:
            told = [sent.data["conversation_id"] for sent in stream.until_caught_up()]
        assert told == past(last)


def test_a_long_past_is_told_in_order_while_others_write(tmp_path: Path) -> None:
    """It is longer than what a process keeps in memory."""
    last = tail.KEPT_EVENTS + 10_000
    with start_installation(tmp_path) as installation:
        url = begun(installation)
        with open_store(installation.postgres.url, QUICK) as store:
            store.execute(PAST.format(last=last, each=1))
        client, expected = Client(installation), past(last)
        with EventStream(url, "after=oldest") as stream, ThreadPoolExecutor(1) as pool:
            opened = pool.submit(lambda: [client.opened() for _ in range(50)])
            told = [each.data["conversation_id"] for each in stream.take(len(expected) + 50, timeout_s=60)]
        assert told == expected + opened.result()


def test_streams_have_a_limit_and_end_in_order_when_the_process_stops(tmp_path: Path) -> None:
    with start_installation(tmp_path, STREAMS_MAX="3", DRAIN_DELAY_S="2") as installation, ExitStack() as stack:
        url = begun(installation)
        streams = [stack.enter_context(EventStream(url)) for _ in range(3)]
        for stream in streams:
            stream.until_caught_up()
        with EventStream(url) as fourth:
            assert (fourth.status, fourth.headers["retry-after"]) == (503, "5")
        streams.pop().close()
        give_up_at = time.monotonic() + 20
        while (again := stack.enter_context(EventStream(url))).status == 503:  # it is missed within a second
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
        streams.append(again)
        installation.intake.terminate()
        for stream in streams:
            stream.until_end()
            assert stream.ended
            assert 0 <= stream.retries[-1] <= 3000
            assert len(stream.retries) == 2
