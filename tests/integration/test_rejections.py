"""Nothing is rejected in silence: what is kept of it, for how long, and what it takes to look at it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from realmate.admin import rejections
from realmate.admin.database import opened
from realmate.admin.rejections import Filter, Rejection
from realmate.conversations.upkeep import forget_rejections
from realmate.domain.events import Verdict
from realmate.domain.model import Rules
from realmate.sources.file import SourceFile
from realmate.wire.commands import Origin, RejectedCommand
from realmate.wire.webhook import parse_event
from store import PATIENT, Store, closing, delivery, open_store, opening, redelivered, saying

ALL = Filter()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


@pytest.fixture
def key() -> str:
    return str(uuid4())


def kept(database_url: str, which: Filter = ALL) -> list[Rejection]:
    with opened(database_url) as engine, engine.connect() as connection:
        return rejections.newest(connection, which, 1000)


def rejected(body: bytes = b"{", source: str = "default", key: str = "") -> RejectedCommand:
    return RejectedCommand("a-request", "invalid_json", "no JSON", body, Origin(source, key, body))


def test_a_rejected_event_is_kept_with_its_reason(store: Store, database_url: str, key: str) -> None:
    message = saying(key, "Olá \N{WAVING HAND SIGN}", source="shop")
    store.apply(opening(key, "shop"), closing(key, "shop"), message)
    [rejection] = kept(database_url)
    assert (rejection.source, rejection.code, rejection.request_id) == ("shop", "conversation_closed", "test")
    assert (rejection.conversation_id, rejection.message_id) == (key, message.message_id)
    assert key in rejection.detail
    assert parse_event(rejection.body, "test", Origin("shop")) == message
    assert abs(datetime.now(UTC) - rejection.at) < timedelta(minutes=1)


def test_a_kept_body_drives_no_terminal_and_comes_whole_out_of_a_pipe(store: Store, database_url: str) -> None:
    body = "\x1b]0;owned\x07\x9b2J\u202e Olá".encode()
    store.apply(rejected(body))
    [rejection] = kept(database_url)
    show = [sys.executable, "-m", "realmate", "rejections", "show", str(rejection.id)]
    environment = os.environ | {"DATABASE_URL": database_url}
    for arguments in ([], ["--json"], ["--body"]):
        shown = in_a_terminal([*show, *arguments], environment).decode()
        assert "owned" in shown
        assert "Olá" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    piped = subprocess.run([*show, "--body"], env=environment, capture_output=True, check=True, timeout=60)
    assert piped.stdout == body + b"\n"


def in_a_terminal(command: list[str], environment: dict[str, str]) -> bytes:
    """What the command writes there."""
    ours, its = pty.openpty()
    done = subprocess.run(command, env=environment, stdout=its, stderr=its, check=False, timeout=60)
    shown = os.read(ours, 65_536)
    os.close(its)
    os.close(ours)
    assert done.returncode == 0, shown
    return shown


def test_what_is_no_event_is_kept_as_it_came(store: Store, database_url: str) -> None:
    body = bytes(range(256))
    assert store.apply(rejected(body, "shop")) == [Verdict.REJECTED]
    [rejection] = kept(database_url)
    assert (rejection.body, rejection.code, rejection.detail) == (body, "invalid_json", "no JSON")
    assert (rejection.conversation_id, rejection.message_id) == (None, None)


def test_a_batch_delivered_twice_is_kept_once(store: Store, database_url: str, key: str) -> None:
    first = delivery([closing(key), rejected()])
    assert store.deliver(first) == store.deliver(redelivered(first))
    assert [it.code for it in kept(database_url)] == ["conversation_not_found", "invalid_json"]


def test_an_answer_given_again_is_no_second_rejection_but_a_mismatch_is_one(store: Store, database_url: str) -> None:
    assert store.apply(rejected(b"{", key="k"), rejected(b"{", key="k")) == [Verdict.REJECTED, Verdict.REJECTED]
    assert store.apply(rejected(b"{", key="k")) == [Verdict.REJECTED]
    assert store.apply(rejected(b"[", key="k")) == [Verdict.IDEMPOTENCY_MISMATCH]
    assert [(it.code, it.body) for it in kept(database_url)] == [("invalid_json", b"{"), ("idempotency_mismatch", b"[")]


def test_an_expired_message_is_kept_whole(database_url: str, key: str) -> None:
    with open_store(database_url, Rules(hold_tolerance=timedelta(milliseconds=50))) as store:
        message = saying(key, 'Olá "\\ \N{WAVING HAND SIGN}', source="shop")
        assert store.apply(message) == [Verdict.HELD]
        time.sleep(0.1)
        store.sweep()
        [rejection] = kept(database_url)
        assert (rejection.source, rejection.code, rejection.message_id) == ("shop", "expired", message.message_id)
        assert parse_event(rejection.body, "test", Origin("shop")) == message


def test_a_message_that_an_opening_finds_expired_is_kept(database_url: str, key: str) -> None:
    with open_store(database_url, Rules(hold_tolerance=timedelta(milliseconds=50))) as store:
        store.apply(saying(key))
        time.sleep(0.1)
        assert store.apply(opening(key)) == [Verdict.CREATED]
        assert [it.code for it in kept(database_url)] == ["expired"]


def test_of_each_source_so_many_are_kept_for_so_long(store: Store, database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text("[sources.few.rejections]\nmax_count = 2\n[sources.brief.rejections]\nmax_age_days = 0.5\n")
    for source in ("few", "brief", "other"):
        store.apply(*(rejected(str(number).encode(), source) for number in range(4)))
    store.execute("UPDATE rejections SET at = at - interval '1 day' WHERE body < '2'")
    forget_rejections(store.db, SourceFile(path, {}).content)
    left = {source: [it.body for it in kept(database_url, Filter(source))] for source in ("few", "brief", "other")}
    assert left == {"few": [b"2", b"3"], "brief": [b"2", b"3"], "other": [b"0", b"1", b"2", b"3"]}


def test_each_filter_leaves_out_what_is_not_meant(store: Store, database_url: str, key: str) -> None:
    store.apply(closing(key, "shop"), rejected(source="shop"), closing(str(uuid4())))
    now = datetime.now(UTC)
    counts = {
        Filter(source="shop"): 2,
        Filter(codes=("invalid_json",)): 1,
        Filter(codes=("invalid_json", "conversation_not_found"), source="shop"): 2,
        Filter(conversation=key): 1,
        Filter(since=now - timedelta(hours=1)): 3,
        Filter(since=now + timedelta(hours=1)): 0,
        Filter(until=now - timedelta(hours=1)): 0,
        Filter(source="nobody"): 0,
        Filter(unreplayed=True): 3,
    }
    with opened(database_url) as engine, engine.connect() as connection:
        assert {which: sum(rejections.count(connection, which).values()) for which in counts} == counts
        assert {which: len(list(rejections.oldest_first(connection, which))) for which in counts} == counts
        first = next(rejections.oldest_first(connection, Filter()))
        rejections.mark_replayed(connection, first.id, 400, "conversation_not_found")
        assert sum(rejections.count(connection, Filter(unreplayed=True)).values()) == 2
        found = rejections.find(connection, first.id)
    assert found is not None
    assert (found.replay_status, found.replay_code) == (400, "conversation_not_found")
    assert msgspec.json.encode(found)
