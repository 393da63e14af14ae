"""What is erased is gone, all of it and nothing else, while others go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from realmate.conversations import statements, upkeep
from realmate.conversations.erasing import CONVERSATIONS_PER_PORTION, ROWS_PER_PORTION, erase_conversation, erase_source
from realmate.conversations.upkeep import erase_outdated
from realmate.domain.events import Verdict
from realmate.local.postgres import Postgres
from realmate.runtime.transaction import StatementFailed
from realmate.sources.file import SourceFile, Sources
from realmate.wire.commands import Origin, RejectedCommand
from store import AGED, PATIENT, Store, closing, open_store, opening, saying

OUTDATE_ALL = AGED.format(days=2)
OUTDATE = f"{OUTDATE_ALL} WHERE id = CAST(:key AS uuid)"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    path = tmp_path / "sources.toml"
    path.write_text("[sources.shop.retention]\nclosed_days = 1\n")
    return SourceFile(path, {}).content


def closed(store: Store, source: str = "shop") -> str:
    """A conversation with a message, its reply, and a rejection."""
    key = str(uuid4())
    store.apply(opening(key, source), saying(key, source=source), closing(key, source), closing(key, source))
    return key


def counts(store: Store) -> dict[str, object]:
    return {
        "conversations": store.scalar("SELECT count(*) FROM conversations"),
        "messages": store.scalar("SELECT count(*) FROM messages"),
        "rejections": store.scalar("SELECT count(*) FROM rejections"),
        "idempotency_keys": store.scalar("SELECT count(*) FROM idempotency_keys"),
    }


def test_closed_conversations_are_erased_when_their_time_is_over(store: Store, sources: Sources) -> None:
    old, young, another_source_s = closed(store), closed(store), closed(store, "other")
    opened = str(uuid4())
    store.apply(opening(opened, "shop"))
    for key in (old, another_source_s, opened):
        store.execute(OUTDATE, key=key)
    erase_outdated(store.db, sources)
    assert store.view(old) is None
    assert all(store.view(key) is not None for key in (young, another_source_s, opened))
    assert counts(store) == {"conversations": 3, "messages": 4, "rejections": 2, "idempotency_keys": 0}
    history = "SELECT string_agg(concat_ws(' ', reason, conversations, messages, rejections), ',') FROM erasures"
    assert store.scalar(history) == "retention 1 2 1"
    erase_outdated(store.db, sources)
    assert store.scalar("SELECT count(*) FROM erasures") == 1


def test_what_the_version_before_settled_is_erased_in_its_time(store: Store, sources: Sources) -> None:
    """It writes no `settled_at`, and leaves one alone when it changes a conversation."""
    old, young, changed = closed(store), closed(store), closed(store)
    store.execute(OUTDATE, key=old)
    store.execute("UPDATE conversations SET settled_at = NULL")
    store.execute("UPDATE conversations SET settled_at = now() - interval '2 days' WHERE id = :key", key=changed)
    erase_outdated(store.db, sources)
    assert [store.view(key) is None for key in (old, young, changed)] == [True, False, False]
    assert store.scalar("SELECT count(*) FROM conversations WHERE settled_at IS NULL") == 0
    store.execute(OUTDATE_ALL)
    erase_outdated(store.db, sources)
    assert counts(store)["conversations"] == 0


def test_more_than_a_portion_is_one_run(store: Store, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    keys = [str(uuid4()) for _ in range(2 * CONVERSATIONS_PER_PORTION + 1)]
    store.apply(*(opening(key, "shop") for key in keys), *(closing(key, "shop") for key in keys))
    store.execute(OUTDATE_ALL)
    erase_outdated(store.db, sources)
    assert store.scalar("SELECT count(*) FROM conversations") == 0
    assert store.scalar("SELECT min(conversations) FROM erasures") == len(keys)


MANY_MESSAGES = """
    INSERT INTO messages (id, source_id, conversation_id, seq, kind, content, timestamp, arrived_at)
    SELECT gen_random_uuid(), (SELECT id FROM sources WHERE name = 'shop'), CAST(:key AS uuid), 10 + n, 1, 'Oi', now(),
        now()
    FROM generate_series(1, 30000) AS n
"""


def test_a_conversation_of_many_messages_is_erased_in_parts(
    store: Store, database_url: str, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement erases more than a portion, whatever hangs on one conversation."""
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    by_hand, by_age, kept = closed(store), closed(store), closed(store)
    for key in (by_hand, by_age):
        store.execute(MANY_MESSAGES, key=key)
    store.execute(OUTDATE, key=by_age)
    store.execute(COUNT_DELETED)
    done = realmate(database_url, "erase", "conversation", by_hand, "--source", "shop", "--yes")
    assert done.stdout == "Erased: 1 conversations, 30,002 messages, 1 rejections.\n"
    erase_outdated(store.db, sources)
    assert store.view(by_age) is None
    assert store.view(kept) is not None
    assert store.scalar("SELECT sum(rows) FROM deleted") == 60_004
    assert store.scalar("SELECT max(rows) FROM deleted") == ROWS_PER_PORTION


COUNT_DELETED = """
    CREATE TABLE deleted (rows bigint);
    CREATE FUNCTION count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO deleted SELECT count(*) FROM old; RETURN NULL; END $$;
    CREATE TRIGGER count_deleted AFTER DELETE ON messages REFERENCING OLD TABLE AS old
    FOR EACH STATEMENT EXECUTE FUNCTION count_deleted()
"""
FAIL_ON_ERASING = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
    CREATE TRIGGER fail BEFORE DELETE ON messages FOR EACH ROW
    WHEN (OLD.conversation_id = '{}') EXECUTE FUNCTION fail()
"""


def test_what_cannot_be_erased_of_one_source_does_not_keep_another_s(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text("[sources.shop.retention]\nclosed_days = 1\n[sources.tail.retention]\nclosed_days = 1\n")
    broken, other = closed(store), closed(store, "tail")
    for key in (broken, other):
        store.execute(OUTDATE, key=key)
    store.execute(FAIL_ON_ERASING.format(broken))
    with pytest.raises(StatementFailed):  # the timer counts it, and the log tells of it
        erase_outdated(store.db, SourceFile(path, {}).content)
    assert store.view(broken) is not None
    assert store.view(other) is None


def test_two_may_erase_at_once(store: Store, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    keys = [str(uuid4()) for _ in range(5 * CONVERSATIONS_PER_PORTION)]
    store.apply(*(opening(key, "shop") for key in keys), *(closing(key, "shop") for key in keys))
    store.execute(OUTDATE_ALL)
    threads = [threading.Thread(target=erase_outdated, args=(store.db, sources)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    erase_outdated(store.db, sources)  # what one found locked by another that was done with it
    assert store.scalar("SELECT count(*) FROM conversations") == 0
    assert store.scalar("SELECT sum(conversations) FROM erasures") == len(keys)


def large(store: Store) -> str:
    """A closed conversation about which there is more than one portion takes."""
    key = str(uuid4())
    store.apply(opening(key, "shop"), *(saying(key, source="shop") for _ in range(1_200)))
    store.apply(closing(key, "shop"), *(closing(key, "shop") for _ in range(1_100)))
    store.execute(OUTDATE, key=key)
    return key


@pytest.mark.parametrize("how", ["retention", "conversation", "source"])
def test_a_conversation_larger_than_a_portion_is_erased_in_several(
    store: Store, sources: Sources, database_url: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    kept = closed(store, "other")
    keys = [large(store), closed(store), large(store)]
    store.execute(OUTDATE, key=keys[1])
    if how == "retention":
        erase_outdated(store.db, sources)
    for key in keys if how == "conversation" else ():
        assert realmate(database_url, "erase", "conversation", key, "--source", "shop", "--yes").returncode == 0
    if how == "source":
        assert realmate(database_url, "erase", "source", "shop", "--yes").returncode == 0
    assert store.view(kept) is not None
    assert counts(store) == {"conversations": 1, "messages": 2, "rejections": 1, "idempotency_keys": 0}
    assert store.scalar("SELECT sum(messages) FROM erasures") == 2 * (1_200 + 1) + 2


def test_a_portion_that_takes_too_long_is_tried_smaller(
    store: Store, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_S", 0)
    keys = [closed(store) for _ in range(12)]
    store.execute(OUTDATE_ALL)
    store.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END$$"
    )
    store.execute("CREATE TRIGGER slow BEFORE DELETE ON conversations FOR EACH ROW EXECUTE FUNCTION slow()")
    name = store.scalar("SELECT current_database()")
    store.execute(f"ALTER DATABASE {name} SET statement_timeout = '500ms'")  # services set it by themselves
    store.engine.dispose()
    erase_outdated(store.db, sources)
    assert all(store.view(key) is None for key in keys)


def test_an_erased_conversation_s_id_is_free(store: Store, sources: Sources) -> None:
    key = closed(store)
    store.execute(OUTDATE, key=key)
    erase_outdated(store.db, sources)
    assert store.apply(opening(key, "shop")) == [Verdict.CREATED]


def realmate(database_url: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "realmate", *arguments],
        input=stdin,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_conversation_is_erased_by_hand(store: Store, database_url: str) -> None:
    key, other = closed(store), closed(store)
    asked = realmate(database_url, "erase", "conversation", key, "--source", "shop", stdin="n\n")
    assert asked.returncode == 1
    assert store.view(key) is not None
    wrong = realmate(database_url, "erase", "conversation", key, "--yes")
    hint = "; to erase it, say whose it is: --source shop"
    assert wrong.stderr == f"Error: source default has nothing of conversation {key}{hint}\n"
    done = realmate(database_url, "erase", "conversation", key, "--source", "shop", "--yes")
    assert done.stdout == "Erased: 1 conversations, 2 messages, 1 rejections.\n"
    assert store.view(key) is None
    assert store.view(other) is not None
    again = realmate(database_url, "erase", "conversation", key, "--source", "shop", "--yes")
    assert (again.returncode, again.stderr) == (1, f"Error: source shop has nothing of conversation {key}\n")
    assert "conversation  1 conversations, 2 messages" in realmate(database_url, "erase", "history").stdout


def test_what_was_rejected_about_a_conversation_that_never_was_is_erased_too(store: Store, database_url: str) -> None:
    key = str(uuid4())
    store.apply(closing(key))
    done = realmate(database_url, "erase", "conversation", key, "--yes")
    assert done.stdout == "Erased: 0 conversations, 0 messages, 1 rejections.\n"


def test_a_source_is_erased_by_hand(store: Store, database_url: str) -> None:
    kept = closed(store, "other")
    for _ in range(3):
        closed(store)
    held = saying(str(uuid4()), source="shop")
    store.apply(held, RejectedCommand("test", "invalid_json", "", b"{", Origin("shop", "a key", b"digest")))
    done = realmate(database_url, "erase", "source", "shop", "--yes")
    assert "Erased: 4 conversations, 7 messages, 4 rejections." in done.stdout
    assert store.view(kept) is not None
    assert counts(store) == {"conversations": 1, "messages": 2, "rejections": 1, "idempotency_keys": 0}
    unknown = realmate(database_url, "erase", "source", "nobody", "--yes")
    assert unknown.stderr == "Error: no event of a source nobody ever came\n"


def test_a_database_of_another_version_is_said(postgres: Postgres) -> None:
    failed = realmate(postgres.url_of("postgres"), "erase", "history")
    assert failed.stderr == "Error: the database is not that of this version: run `realmate migrate`\n"


@pytest.mark.parametrize("whole_source", [True, False])
def test_what_a_writer_commits_while_the_erasure_waits_for_it_is_erased_too(
    store: Store, *, whole_source: bool
) -> None:
    """The erasure waits for the conversation's lock; the message that comes meanwhile must not outlive it."""
    key = str(uuid4())
    store.apply(opening(key), saying(key))

    def erase() -> None:
        if whole_source:
            list(erase_source(store.db, 0))
        else:
            erase_conversation(store.db, 0, key)

    erasing = threading.Thread(target=erase)
    with store.db.begin() as writer:
        rows = writer.fetch(statements.LOCK, f"{{{key}}}")
        assert rows[0][0] == key
        erasing.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        give_up_at = time.monotonic() + 20
        while not store.scalar(waits):
            assert time.monotonic() < give_up_at
        row = f'[{{"id": "{uuid4()}", "source_id": 0, "conversation_id": "{key}", "seq": 2, "kind": 1, "content": "Oi",'
        row += ' "timestamp": "2026-01-01T00:00:00Z"}]'
        writer.add(statements.INSERT_MESSAGES, row, datetime.now(UTC))
        writer.commit()
    erasing.join()
    assert store.scalar("SELECT count(*) FROM conversations") == 0
    assert store.scalar("SELECT count(*) FROM messages") == 0
