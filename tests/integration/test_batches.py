"""Batches of commands against a real Postgres: what is promised is stored, once, whoever else is at work."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmate.conversations.unit_of_work import UnitOfWork
from realmate.domain.events import Verdict
from realmate.local.postgres import Postgres
from realmate.migrations.runner import upgrade
from realmate.runtime.transaction import Statement
from realmate.sources.model import Source
from realmate.transport.interface import Delivery
from realmate.wire.commands import Command, MessageCommand, OpenCommand, Origin, RejectedCommand
from realmate.wire.webhook import parse_event
from store import (
    PATIENT,
    SENT_AT,
    Store,
    as_json,
    closing,
    delivery,
    inbound,
    open_store,
    opening,
    redelivered,
    replied,
    saying,
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url, PATIENT) as store:
        yield store


def test_one_batch_may_hold_a_whole_conversation(store: Store) -> None:
    """Events of one batch see each other, in their order."""
    key = str(uuid.uuid4())
    first, second = saying(key, "um", second=2), saying(key, "dois", second=1)
    verdicts = store.apply(first, opening(key), opening(key), second, second, closing(key), saying(key), closing(key))
    assert verdicts == [
        Verdict.HELD,
        Verdict.CREATED,
        Verdict.CONVERSATION_EXISTS,
        Verdict.ACCEPTED,
        Verdict.DUPLICATE,
        Verdict.CLOSED,
        Verdict.CONVERSATION_CLOSED,
        Verdict.CONVERSATION_ALREADY_CLOSED,
    ]
    view = store.view(key)
    assert view is not None
    assert view.status == "CLOSED"
    assert inbound(view) == [second.message_id, first.message_id], "by timestamp"
    assert replied(view) == [[second.message_id, first.message_id]]


HOT_UPDATES = Statement(
    "hot_updates",
    (),
    "SELECT pg_stat_get_xact_tuples_updated(conversations), pg_stat_get_xact_tuples_hot_updated(conversations)"
    " FROM (SELECT CAST('conversations' AS regclass) AS conversations) AS named",
)


def test_a_message_that_joins_a_group_leaves_the_indexes_alone(store: Store) -> None:
    """An index on a column that each event changes would make every event write to every index."""
    key = str(uuid.uuid4())
    store.apply(opening(key), saying(key))
    with store.db.begin() as transaction:
        work = UnitOfWork(transaction, store.rules.book(store.db))
        assert work.decide_all([saying(key).event(0), saying(key).event(0)], look_first=False) == [Verdict.ACCEPTED] * 2
        work.save()
        assert transaction.fetch(HOT_UPDATES) == [(1, 1)]
        transaction.commit()
    grown = "SELECT concat_ws(' ', last_seq, group_size, group_last_at = updated_at) FROM conversations"
    assert store.scalar(grown) == "3 3 t"


def test_what_exists_only_as_held_messages_is_invisible(store: Store) -> None:
    key = str(uuid.uuid4())
    assert store.apply(saying(key), closing(key)) == [Verdict.HELD, Verdict.CONVERSATION_NOT_FOUND]
    assert store.view(key) is None


def test_rejected_events_leave_no_rows(store: Store) -> None:
    assert store.apply(closing(str(uuid.uuid4()))) == [Verdict.CONVERSATION_NOT_FOUND]
    assert store.scalar("SELECT count(*) FROM conversations") == 0


def test_the_view_has_the_contract_s_shape(store: Store) -> None:
    key, message = str(uuid.uuid4()), str(uuid.uuid4())
    store.apply(opening(key), saying(key, "Olá 👋", message_id=message))
    view = store.view(key)
    assert view is not None
    shown = as_json(view)
    assert str(shown.pop("created_at")).endswith("Z")
    assert str(shown.pop("updated_at")).endswith("Z")
    assert shown == {
        "id": str(key),
        "status": "OPEN",
        "messages": [{"id": str(message), "type": "INBOUND", "content": "Olá 👋", "timestamp": "2025-06-04T14:20:05Z"}],
    }


def test_a_batch_delivered_again_gets_the_verdicts_of_the_first_time(store: Store) -> None:
    """A consumer that dies between its commit and its reply harms nobody: not `conversation_exists`, but `created`."""
    key = str(uuid.uuid4())
    first = delivery([opening(key), saying(key)])
    assert store.deliver(first) == [[Verdict.CREATED, Verdict.ACCEPTED]]
    assert store.deliver(redelivered(first)) == [[Verdict.CREATED, Verdict.ACCEPTED]]
    assert store.deliver(first) == [[Verdict.CREATED, Verdict.ACCEPTED]], "even if nobody said that it is a repetition"
    view = store.view(key)
    assert view is not None
    assert len(inbound(view)) == 1


def test_an_applied_and_a_fresh_batch_may_travel_together(store: Store) -> None:
    key = str(uuid.uuid4())
    first = delivery([opening(key)])
    store.deliver(first)
    assert store.deliver(redelivered(first), delivery([saying(key)])) == [[Verdict.CREATED], [Verdict.ACCEPTED]]


def test_a_slow_consumer_and_the_one_that_claimed_its_batch_apply_it_once(store: Store) -> None:
    for _ in range(10):
        key = str(uuid.uuid4())
        first = delivery([opening(key), saying(key), saying(key)])
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(store.deliver, [first, redelivered(first)] * 2))
        assert answers == [[[Verdict.CREATED, Verdict.ACCEPTED, Verdict.ACCEPTED]]] * 4
        view = store.view(key)
        assert view is not None
        assert len(inbound(view)) == 2


def test_a_batch_past_its_deadline_is_not_applied(store: Store) -> None:
    key = str(uuid.uuid4())
    assert store.deliver(delivery([opening(key)], timeout_s=-0.01)) == [None]
    assert store.view(key) is None


def test_a_payload_no_realmate_wrote_harms_no_other(store: Store) -> None:
    nonsense = Delivery("nonsense", b"\xc1", time.monotonic() + 5, redelivered=False)
    newer = Delivery("newer", b"\x92\x63\x90", time.monotonic() + 5, redelivered=False)
    assert store.deliver(nonsense, delivery([opening(str(uuid.uuid4()))]), newer) == [None, [Verdict.CREATED], None]


LONG_KEY = "".join(random.Random(1).choices("0123456789abcdef", k=9000))
GUILTY: dict[str, Command] = {
    "an id that is no UUID": opening("not-a-uuid"),
    "an id in another form": opening(str(uuid.uuid4()).upper()),
    "a list of ids": closing("{},{}"),
    "content with a NUL": saying(str(uuid.uuid4()), "a\0b"),
    "a key with a NUL": OpenCommand("test", str(uuid.uuid4()), SENT_AT, Origin(key="a\0b")),
    "a request id with a NUL": RejectedCommand("a\0b", "invalid_json", "", b""),
    "a source's name with a NUL": opening(str(uuid.uuid4()), "a\0b"),
    "a source's name that is none": opening(str(uuid.uuid4()), "a'b"),
    "a key too long for its index": OpenCommand("test", str(uuid.uuid4()), SENT_AT, Origin(key=LONG_KEY)),
    "a code with a NUL": RejectedCommand("test", "\0", "", b""),
}


@pytest.mark.parametrize("guilty", GUILTY.values(), ids=GUILTY)
def test_what_cannot_be_stored_fails_alone(store: Store, guilty: Command) -> None:
    """Neither its delivery nor those merged with it know of it, and a second delivery gets the same verdicts."""
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    mixed = delivery([opening(first), guilty, saying(first), saying(second)])
    other = delivery([opening(second)])
    [verdicts, others] = store.deliver(mixed, other)
    assert verdicts is not None
    failed = verdicts.pop(1)
    assert failed in {Verdict.UNSTORABLE, Verdict.FAILED}
    assert (verdicts, others) == ([Verdict.CREATED, Verdict.ACCEPTED, Verdict.HELD], [Verdict.CREATED])
    assert store.deliver(redelivered(mixed)) == [[verdicts[0], failed, *verdicts[1:]]]
    for key in (first, second):
        view = store.view(key)
        assert view is not None
        assert len(inbound(view)) == 1


def test_what_cannot_be_stored_is_rejected_for_good_and_kept(store: Store) -> None:
    key = str(uuid.uuid4())
    assert store.apply(opening(key), saying(key, "a\0b")) == [Verdict.CREATED, Verdict.UNSTORABLE]
    assert store.scalar("SELECT code || ' ' || detail FROM rejections") == (
        "event_unstorable The event holds something that cannot be stored; sent again, it would be rejected again."
    )


def test_a_few_guilty_among_many_are_all_found(store: Store) -> None:
    keys = [str(uuid.uuid4()) for _ in range(300)]
    guilty = {7, 8, 150, 299}
    commands = [saying(key, "a\0b") if place in guilty else opening(key) for place, key in enumerate(keys)]
    assert store.apply(*commands) == [
        Verdict.UNSTORABLE if place in guilty else Verdict.CREATED for place in range(len(keys))
    ]


def test_a_message_id_in_two_conversations_at_once_belongs_to_one(store: Store) -> None:
    """The second waits for the first's commit, looks again and finds a conflict."""
    for _ in range(10):
        keys = [str(uuid.uuid4()) for _ in range(4)]
        store.apply(*map(opening, keys))
        message = str(uuid.uuid4())
        with ThreadPoolExecutor(4) as pool:
            verdicts = list(pool.map(lambda key: store.apply(saying(key, message_id=message))[0], keys))  # noqa: B023
        assert sorted(verdicts) == [Verdict.ACCEPTED, *[Verdict.MESSAGE_CONFLICT] * 3]


def test_concurrent_batches_over_the_same_conversations_keep_every_promise(store: Store) -> None:
    """Random batches from eight threads: created once each; after closing, every message is in exactly one reply."""
    keys = [str(uuid.uuid4()) for _ in range(12)]
    chance = random.Random(7)
    commands = [saying(chance.choice(keys)) for _ in range(400)] + [opening(key) for key in keys for _ in range(8)]
    chance.shuffle(commands)
    batches = [commands[start : start + 8] for start in range(0, len(commands), 8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: store.apply(*batch), batches))
    verdicts = [verdict for answer in answers for verdict in answer]
    assert verdicts.count(Verdict.CREATED) == len(keys)
    promised: dict[str, set[str]] = {key: set() for key in keys}
    for command, verdict in zip(commands, verdicts, strict=True):
        if isinstance(command, MessageCommand):
            assert verdict in {Verdict.ACCEPTED, Verdict.HELD}
            promised[command.conversation_id].add(command.message_id)
    store.apply(*map(closing, keys))
    for key in keys:
        view = store.view(key)
        assert view is not None
        assert set(inbound(view)) == promised[key]
        named = [message for reply in replied(view) for message in reply]
        assert sorted(named) == sorted(promised[key]), "each exactly once"


def test_a_close_racing_messages_answers_all_that_got_in_and_nothing_after(store: Store) -> None:
    for _ in range(5):
        key = str(uuid.uuid4())
        store.apply(opening(key))
        commands = [saying(key) for _ in range(20)]
        with ThreadPoolExecutor(8) as pool:
            said = [pool.submit(store.apply, command) for command in commands]
            closed = pool.submit(store.apply, closing(key))
        assert closed.result() == [Verdict.CLOSED]
        accepted = {
            command.message_id
            for command, verdict in zip(commands, said, strict=True)
            if verdict.result() == [Verdict.ACCEPTED]
        }
        view = store.view(key)
        assert view is not None
        assert set(inbound(view)) == accepted
        assert sorted(message for reply in replied(view) for message in reply) == sorted(accepted)


@given(
    content=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
    sent_at=st.datetimes(timezones=st.just(UTC)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_wire_lets_in_can_be_stored_and_comes_back(store: Store, content: str, sent_at: datetime) -> None:
    """No event that passes validation can fail a batch and so hurt its neighbours."""
    key, message = str(uuid.uuid4()), str(uuid.uuid4())
    command = parse_event(
        _json(content, sent_at.isoformat(), message, key),
        "test",
    )
    assert store.apply(opening(key), command) == [Verdict.CREATED, Verdict.ACCEPTED]
    view = store.view(key)
    assert view is not None
    assert [(shown.content, shown.timestamp) for shown in view.messages] == [(content, sent_at)]


def _json(content: str, timestamp: str, message: str, key: str) -> bytes:
    data = {"id": str(message), "content": content, "conversation_id": str(key)}
    return msgspec.json.encode({"type": "NEW_MESSAGE", "timestamp": timestamp, "data": data})


def test_a_batch_waits_for_a_database_that_restarts(tmp_path: Path) -> None:
    """kill -9 of Postgres: what was promised is there afterwards, and a waiting batch is applied without a hand."""
    with Postgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        with open_store(server.url, PATIENT) as store:
            key = str(uuid.uuid4())
            store.apply(opening(key), saying(key))
            server.kill()
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(store.deliver, delivery([saying(key)], timeout_s=60))
                server.start()
                assert waiting.result() == [[Verdict.ACCEPTED]]
            view = store.view(key)
            assert view is not None
            assert len(inbound(view)) == 2


def test_a_batch_out_of_time_does_not_take_those_merged_with_it_along(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        with open_store(server.url, PATIENT) as store:
            server.kill()
            hasty = delivery([opening(str(uuid.uuid4()))], timeout_s=0.5)
            patient = delivery([opening(str(uuid.uuid4()))])
            with ThreadPoolExecutor(1) as pool:
                answers = pool.submit(store.deliver, hasty, patient)
                time.sleep(1)
                server.start()
                assert answers.result() == [None, [Verdict.CREATED]]
            assert store.scalar("SELECT count(*) FROM conversations") == 1


def test_without_a_database_nothing_is_decided(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as server, open_store(server.url, PATIENT) as store:
        server.kill()
        assert store.deliver(delivery([opening(str(uuid.uuid4()))], timeout_s=1)) == [None]


def test_without_migrations_nothing_is_decided(tmp_path: Path) -> None:
    """A schema that is not there is a fault, not an outage: no patience, no promise."""
    with Postgres(tmp_path / "postgres") as server, open_store(server.url, PATIENT) as store:
        assert store.deliver(delivery([opening(str(uuid.uuid4()))], timeout_s=60)) == [None]


def test_a_command_of_a_source_that_the_file_does_not_name_is_not_applied(database_url: str) -> None:
    """Who can write to the broker must not make sources up."""
    with open_store(database_url, PATIENT, {"shop": Source("shop")}) as store:
        known, forged = str(uuid.uuid4()), str(uuid.uuid4())
        verdicts = store.apply(opening(known, "shop"), opening(forged, "made-up"))
        assert verdicts == [Verdict.CREATED, Verdict.FAILED]
        assert store.view(known, "shop") is not None
        assert store.scalar("SELECT count(*) FROM sources WHERE name = 'made-up'") == 0
        assert store.scalar("SELECT count(*) FROM conversations") == 1
