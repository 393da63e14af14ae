"""What is sent to an endpoint, in which order, and what its answers mean: step by step, on a real Postgres."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import prometheus_client
import pytest
from sqlalchemy import text

from outbound import Outbound, endpoint, outbound
from realmate.conversations.erasing import erase_conversation
from realmate.conversations.sequencer import number
from realmate.deliveries import pausing
from realmate.deliveries.registry import forget_erased, tidy
from realmate.deliveries.statements import CLAIM
from realmate.egress.connections import Connections, HttpConnection, Place
from realmate.feed import reading as feed
from realmate.feed.reading import Filter, Page
from realmate.sources.limits import RateLimit
from receivers import Answer, Receiver, receiving, until
from signatures import OTHER_SECRET, SECRET
from store import closing, opening, saying

EVENTS = ["conversation.opened", "message.received 1", "message.received 2"]


@pytest.fixture
def out(database_url: str) -> Iterator[Outbound]:
    with outbound(database_url) as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def failing(*statuses: int, then: int = 204) -> Any:
    """Answer with each of these statuses once, and then always with another one."""
    remaining = list(statuses)
    return lambda _: Answer(remaining.pop(0) if remaining else then)


# --- what is sent ---


def test_each_event_is_sent_once_signed_and_as_the_feed_tells_it(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    key = out.opened("Oi", "Tudo bem?")
    out.close(key)
    out.deliver()
    assert receiver.told(key) == [*EVENTS, "reply.created 3", "conversation.closed"]
    page = feed.read(out.store.db, feed.oldest(out.store.db), Filter(), 100, 1_000_000)
    assert isinstance(page, Page)
    told = [json.loads(msgspec.json.encode(each)) for each in page.events]
    assert [each.event for each in receiver.requests] == told
    assert [each.id for each in receiver.requests] == [each["id"] for each in told]
    assert receiver.requests[0].headers["content-type"] == "application/json"
    assert receiver.requests[0].headers["host"] == f"127.0.0.1:{receiver.server_port}"
    assert receiver.forged == 0
    out.deliver()
    assert len(receiver.requests) == 5
    assert out.is_empty


def test_a_new_endpoint_is_told_what_happens_from_then_on(out: Outbound, receiver: Receiver) -> None:
    before = out.opened("before")
    out.follow()
    out.name(endpoint(receiver))
    after = out.opened("after")
    out.deliver()
    assert receiver.told(before) == []
    assert receiver.told(after) == EVENTS[:2]


def test_an_endpoint_is_told_the_events_and_the_sources_that_it_wants(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, events=frozenset({"message.received"}), sources=frozenset({"shop"})))
    mine, other = "6a41b347-8d80-4ce9-84ba-7af66f369f6a", out.opened("Oi")
    out.store.apply(opening(mine, "shop"), saying(mine, "Olá", source="shop"), closing(mine, "shop"))
    out.deliver()
    assert receiver.told(mine) == ["message.received 1"]
    assert receiver.told(other) == []


def test_two_endpoints_are_told_the_same(out: Outbound, receiver: Receiver) -> None:
    with receiving() as other:
        out.name(endpoint(receiver))
        out.name(endpoint(other, "erp"))
        key = out.opened("Oi")
        out.deliver()
        assert receiver.told(key) == other.told(key) == EVENTS[:2]


def test_many_events_go_in_several_commits(out: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmate.deliveries.following.EVENTS_AT_ONCE", 7)
    monkeypatch.setattr("realmate.deliveries.sending.CLAIMED_AT_ONCE", 3)
    out.name(endpoint(receiver))
    keys = [out.opened("um", "dois") for _ in range(20)]
    out.deliver()
    assert all(receiver.told(key) == EVENTS for key in keys)
    assert len(receiver.requests) == 60


# --- what an answer means ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(out: Outbound, receiver: Receiver, status: int) -> None:
    receiver.answer = failing(then=status)
    out.name(endpoint(receiver))
    key = out.opened()
    out.deliver()
    assert receiver.told(key, only_taken=True) == ["conversation.opened"]
    assert out.is_empty


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_any_other_answer_is_a_failure_which_is_tried_again_under_the_same_id(
    out: Outbound, receiver: Receiver, status: int
) -> None:
    receiver.answer = failing(status, status)
    out.name(endpoint(receiver))
    key = out.opened()
    out.follow()
    out.send()
    out.hurry()
    out.send()
    assert receiver.told(key) == ["conversation.opened"] * 3
    assert len({each.id for each in receiver.requests}) == 1
    assert receiver.told(key, only_taken=True) == ["conversation.opened"]
    outcomes = out.scalar(
        "SELECT string_agg(outcome || ' ' || status || ' ' || attempt, ', ' ORDER BY id) FROM delivery_attempts"
    )
    assert outcomes == f"failed {status} 1, failed {status} 2, delivered 204 3"


def test_each_attempt_has_its_own_moment(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(500)
    out.name(endpoint(receiver, schedule_s=(1.1,)))
    out.opened()
    out.deliver()
    time.sleep(1.4)
    out.send()
    first, second = (int(each.headers["webhook-timestamp"]) for each in receiver.requests)
    assert second > first


def test_attempts_follow_the_schedule_and_then_the_delivery_is_given_up(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(then=500)
    out.name(endpoint(receiver, schedule_s=(0.3, 0.6)))
    key = out.opened()
    out.follow()
    give_up_at = time.monotonic() + 5
    while time.monotonic() < give_up_at and len(receiver.requests) < 4:
        out.send()
        time.sleep(0.02)
    moments = [each.at for each in receiver.requests]
    assert len(moments) == 3
    assert 0.3 <= moments[1] - moments[0] < 0.6
    assert 0.6 <= moments[2] - moments[1] < 1.0
    assert receiver.told(key, only_taken=True) == []
    assert out.scalar("SELECT string_agg(outcome, ' ' ORDER BY id) FROM delivery_attempts") == "failed failed given_up"


def test_410_pauses_the_endpoint_and_loses_nothing(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(410)
    out.name(endpoint(receiver))
    key = out.opened("Oi")
    out.deliver()
    assert receiver.told(key) == ["conversation.opened"]
    assert out.row("pause_reason") == "gone"
    out.hurry()
    out.deliver()
    assert len(receiver.requests) == 1
    out.store.execute("UPDATE endpoints SET paused_at = NULL, pause_reason = NULL")
    out.deliver()
    assert receiver.told(key, only_taken=True) == EVENTS[:2]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_for_the_whole_endpoint(out: Outbound, receiver: Receiver, status: int) -> None:
    told = iter([Answer(status, b"", (("Retry-After", "1"),))])
    receiver.answer = lambda _: next(told, Answer())
    out.name(endpoint(receiver, concurrency=1))
    keys = [out.opened(), out.opened()]
    out.follow()
    out.send()
    assert len(receiver.requests) == 1
    assert 0 < out.scalar("SELECT extract(epoch FROM held_until - now()) FROM endpoints") <= 1
    time.sleep(1.1)
    out.send()
    assert [receiver.told(key, only_taken=True) for key in keys] == [["conversation.opened"]] * 2


def test_a_retry_after_of_a_year_holds_for_a_day(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(503, b"", (("Retry-After", "31536000"),))
    out.name(endpoint(receiver))
    out.opened()
    out.deliver()
    held_s = out.scalar("SELECT extract(epoch FROM held_until - now()) FROM endpoints")
    assert 86_000 < held_s <= 86_400


def test_retry_after_means_nothing_with_other_answers(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(500, b"", (("Retry-After", "60"),)) if len(receiver.requests) < 1 else Answer()
    out.name(endpoint(receiver))
    key = out.opened()
    out.deliver()
    assert receiver.told(key, only_taken=True) == ["conversation.opened"]


def test_the_receiver_may_end_the_retries_of_one_event(out: Outbound, receiver: Receiver) -> None:
    told = iter([Answer(400, b"", (("webhook-delivery", "abort-message"),))])
    receiver.answer = lambda _: next(told, Answer())
    out.name(endpoint(receiver))
    key = out.opened("Oi")
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "message.received 1 gap"]


def test_a_redirect_is_not_followed(out: Outbound, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.answer = lambda _: Answer(307, b"", (("Location", elsewhere.url),))
        out.name(endpoint(receiver, schedule_s=()))
        out.opened()
        out.deliver()
        assert (len(receiver.requests), len(elsewhere.requests)) == (1, 0)


def test_no_answer_in_time_is_a_failure(out: Outbound, receiver: Receiver) -> None:
    def slow(_: object) -> Answer:
        time.sleep(1.0)
        return Answer()

    receiver.answer = slow
    out.name(endpoint(receiver, timeout_s=0.3, schedule_s=()))
    out.opened()
    out.deliver()
    failure = out.scalar("SELECT outcome || ': ' || failure FROM delivery_attempts")
    assert failure.startswith("given_up: ")
    assert "time" in failure.lower()


def test_nobody_there_is_a_failure(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, url="http://127.0.0.1:1/", schedule_s=()))
    out.opened()
    out.deliver()
    assert out.scalar("SELECT outcome FROM delivery_attempts WHERE status IS NULL") == "given_up"


def test_the_first_bytes_of_an_answer_are_kept(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(500, b"\x00\xff" + b"x" * 1_000_000)
    out.name(endpoint(receiver, schedule_s=()))
    out.opened()
    out.deliver()
    assert bytes(out.scalar("SELECT answer FROM delivery_attempts")) == b"\x00\xff" + b"x" * 1022


# --- order, gaps ---


def test_a_failure_holds_up_its_own_conversation_alone(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=(60.0, 60.0)))
    stuck, *others = [out.opened("um", "dois") for _ in range(5)]
    receiver.answer = lambda event: Answer(500 if event["conversation_id"] == stuck else 204)
    out.deliver()
    assert receiver.told(stuck) == ["conversation.opened"]
    assert all(receiver.told(key) == EVENTS for key in others)
    receiver.answer = lambda _: Answer()
    out.hurry()
    out.send()
    assert receiver.told(stuck, only_taken=True) == EVENTS


def test_with_failures_at_random_each_conversation_comes_in_order_and_whole(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=(0.0,) * 40))
    receiver.answer = lambda event: Answer(500 if hash((event["id"], time.monotonic_ns())) % 3 == 0 else 204)
    keys = [out.opened(*map(str, range(6))) for _ in range(6)]
    out.follow()
    for _ in range(100):
        out.hurry()
        out.send()
        time.sleep(0.01)
        out.sender._breakers.clear()  # noqa: SLF001 (what five failures in a row do is not asked here)
        if out.is_empty:
            break
    expected = ["conversation.opened", *(f"message.received {number}" for number in range(1, 7))]
    assert all(receiver.told(key, only_taken=True) == expected for key in keys)


def test_after_giving_up_the_next_delivery_tells_of_the_gap_and_the_one_after_it_does_not(
    out: Outbound, receiver: Receiver
) -> None:
    out.name(endpoint(receiver, schedule_s=(0.0,)))
    key, whole = out.opened("um", "dois"), out.opened("um")
    receiver.answer = lambda event: Answer(
        400 if (event["type"], event["conversation_id"]) == ("conversation.opened", key) else 204
    )
    out.deliver()
    assert receiver.told(key) == ["conversation.opened"] * 2 + ["message.received 1 gap", "message.received 2"]
    assert receiver.told(whole) == EVENTS[:2]


def test_a_gap_is_remembered_until_there_is_something_to_send(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=()))
    receiver.answer = failing(then=400)
    key = out.opened("um")
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "message.received 1 gap"]
    receiver.answer = failing()
    out.store.apply(saying(key, "dois"))
    out.deliver()
    out.store.apply(saying(key, "três"))
    out.deliver()
    assert receiver.told(key)[2:] == ["message.received 2 gap", "message.received 3"]
    assert out.is_empty


def test_a_gap_that_nothing_follows_is_forgotten_some_day(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=()))
    receiver.answer = failing(then=400)
    out.opened()
    out.deliver()
    assert out.scalar("SELECT state FROM delivery_lanes") == 2
    out.store.execute("UPDATE delivery_lanes SET due_at = now() - interval '1 s'")
    out.send()
    assert out.is_empty


# --- pauses ---


def test_nothing_but_failures_for_long_pauses_the_endpoint(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(then=500)
    out.name(endpoint(receiver, pause_after_s=3600.0, schedule_s=(0.0,) * 9, concurrency=1))
    out.opened()
    out.follow()
    out.send()
    assert out.row("pause_reason") is None
    out.store.execute("UPDATE endpoints SET failing_since = failing_since - interval '2 hours'")
    out.sender._breakers.clear()  # noqa: SLF001 (it is open)
    out.hurry()
    out.send()
    assert out.row("pause_reason") == "failing"


def test_one_success_ends_the_time_of_failures(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(500)
    out.name(endpoint(receiver, schedule_s=(60.0,)))
    out.opened()
    out.deliver()
    assert out.row("failing_since") is not None
    out.opened()
    out.deliver()
    assert out.row("failing_since") is None


def test_a_paused_endpoint_s_place_stands_still(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    out.store.execute("UPDATE endpoints SET paused_at = now(), pause_reason = 'asked'")
    before = out.scalar("SELECT cursor FROM endpoint_cursors")
    key = out.opened("Oi")
    out.deliver()
    out.look()
    assert receiver.requests == []
    assert out.scalar("SELECT cursor FROM endpoint_cursors") == before
    assert out.scalar("SELECT count(*) FROM deliveries") == 0
    out.store.execute("UPDATE endpoints SET paused_at = NULL, pause_reason = NULL")
    out.deliver()
    assert receiver.told(key) == EVENTS[:2]


def overdue_s() -> float:
    """What the metric tells of the endpoint `crm`."""
    return prometheus_client.REGISTRY.get_sample_value("realmate_endpoint_overdue_seconds", {"endpoint": "crm"}) or 0.0


@pytest.mark.parametrize(
    ("state", "least_s"),
    [
        ("failing_since = now()", 600),
        ("held_until = now() + interval '1 minute'", 0),
        ("paused_at = now(), pause_reason = 'asked'", 0),
    ],
)
def test_what_is_due_and_not_sent_is_told_with_its_age(
    out: Outbound, receiver: Receiver, state: str, least_s: float
) -> None:
    out.name(endpoint(receiver))
    out.opened()
    out.follow()
    out.store.execute("UPDATE delivery_lanes SET due_at = now() - interval '10 minutes'")
    out.store.execute(f"UPDATE endpoints SET {state}")  # noqa: S608 (one of the three above)
    out.look()
    assert least_s <= overdue_s() <= least_s + 60 * bool(least_s)


def test_what_waits_for_its_next_attempt_is_not_due(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(then=500)
    out.name(endpoint(receiver, schedule_s=(60.0,)))
    out.opened()
    out.deliver()
    out.look()
    assert overdue_s() == 0


def test_a_place_that_the_feed_has_forgotten_pauses_the_endpoint(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    for _ in range(3):
        out.opened()
        out.look()
    while number(out.store.db):
        pass
    out.store.execute("UPDATE endpoint_cursors SET position = 0")
    out.store.execute("DELETE FROM changes WHERE position < (SELECT position FROM feed)")
    out.follow()
    assert out.row("pause_reason") == "expired"
    out.send()
    assert receiver.requests == []


# --- secrets, rates, addresses ---


def test_secrets_are_rotated_without_a_rejected_delivery(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    for ours, its in (
        ([SECRET], [SECRET]),
        ([SECRET, OTHER_SECRET], [SECRET]),
        ([SECRET, OTHER_SECRET], [OTHER_SECRET]),
    ):
        out.name(endpoint(receiver, secrets=ours))
        receiver.secrets = its
        out.opened("Oi")
        out.deliver()
    out.name(endpoint(receiver, secrets=[OTHER_SECRET]))
    out.opened("Oi")
    out.deliver()
    assert receiver.forged == 0
    assert len(receiver.taken) == len(receiver.requests) == 8


def test_a_rate_holds_for_all_processes_together(out: Outbound, receiver: Receiver) -> None:
    limited = endpoint(receiver, rate=RateLimit(10, 10), concurrency=50)
    other = Outbound(out.store)
    for process in (out, other):
        process.name(limited)
    for _ in range(40):
        out.opened()
    out.follow()
    began = time.monotonic()
    while len(receiver.requests) < 30:
        assert time.monotonic() - began < 20
        for process in (out, other):
            process.send()
    assert time.monotonic() - began >= 1.8, "ten at once, and then ten a second"


def test_a_rate_of_one_endpoint_is_not_another_one_s(out: Outbound, receiver: Receiver) -> None:
    with receiving() as other:
        out.name(endpoint(receiver, rate=RateLimit(0.001, 1)))
        out.name(endpoint(other, "erp"))
        for _ in range(5):
            out.opened()
        out.follow()
        out.send()
        assert (len(receiver.requests), len(other.requests)) == (1, 5)


def test_a_private_address_gets_nothing_unless_it_is_allowed(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, url=receiver.url.replace("http", "https"), allow_private=False, schedule_s=()))
    out.opened()
    out.deliver()
    assert receiver.requests == []
    assert "no public address" in out.scalar("SELECT failure FROM delivery_attempts")


def test_an_address_that_becomes_private_between_two_attempts_gets_no_second_one(
    out: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, now = socket.getaddrinfo, ["127.0.0.1"]

    def resolve(host: str, port: int, *also: Any, **named: Any) -> list[Any]:
        if host != "moving.example":
            return ask(host, port, *also, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in now]

    def without_tls(_: Connections, place: Place, *, connect_timeout_s: float) -> HttpConnection:
        connection = HttpConnection(place.address, place.port, timeout=connect_timeout_s)
        connection.connect()
        return connection

    monkeypatch.setattr("realmate.egress.client.socket.getaddrinfo", resolve)
    monkeypatch.setattr("realmate.egress.client.is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("realmate.egress.client.RESOLVED_S", 0.0)
    monkeypatch.setattr(Connections, "open", without_tls)
    url = receiver.url.replace("http://127.0.0.1", "https://moving.example")
    out.name(endpoint(receiver, url=url, allow_private=False, schedule_s=(0.0, 30.0)))
    out.opened()
    out.follow()

    def move(_: object) -> Answer:
        now[:] = ["10.0.0.1"]
        return Answer(500)

    receiver.answer = move
    out.send()
    assert len(receiver.requests) == 1
    assert "moving.example is 10.0.0.1" in out.scalar("SELECT failure FROM delivery_attempts ORDER BY id DESC LIMIT 1")
    now[:] = ["127.0.0.1"]
    receiver.answer = failing()
    out.hurry()
    out.send()
    assert len(receiver.taken) == 1, "it is tried again, and the address is public by then"


# --- the circuit breaker, erasing ---


def test_a_dead_endpoint_gets_five_requests_and_then_one_now_and_then(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(then=500)
    out.name(endpoint(receiver, schedule_s=(60.0,), concurrency=1))
    for _ in range(20):
        out.opened()
    out.follow()
    out.send()
    assert len(receiver.requests) == 5
    receiver.answer = failing()
    out.sender._breakers["crm"]._half_open_at = 0.0  # noqa: SLF001 (its five seconds are over)
    out.send()
    assert len(receiver.taken) == 15
    out.hurry()
    out.send()
    assert len(receiver.taken) == 20


def test_a_client_error_does_not_open_the_circuit_breaker(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(then=400)
    out.name(endpoint(receiver, schedule_s=(60.0,), concurrency=1))
    for _ in range(20):
        out.opened()
    out.deliver()
    assert len(receiver.requests) == 20


def test_what_is_erased_is_not_sent_any_more(out: Outbound, receiver: Receiver) -> None:
    receiver.answer = failing(500)
    out.name(endpoint(receiver, schedule_s=(60.0, 60.0)))
    key = out.opened("a secret", "another one")
    out.deliver()
    assert receiver.told(key) == ["conversation.opened"]
    erase_conversation(out.store.db, 0, key)
    assert out.is_empty
    assert out.scalar("SELECT count(*) FROM delivery_attempts") == 0
    out.hurry()
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "conversation.erased"]
    assert not any("secret" in str(each.event) for each in receiver.requests)


def test_what_is_erased_before_it_is_a_delivery_is_not_sent_either(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    key = out.opened("a secret")
    erase_conversation(out.store.db, 0, key)
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "conversation.erased"]
    assert out.is_empty


def test_an_erasure_while_a_delivery_is_under_way_leaves_nothing(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=(60.0,)))
    key = out.opened("a secret", "another one")

    def erase(_: object) -> Answer:
        erase_conversation(out.store.db, 0, key)
        return Answer(500, b"what about the secret?")

    receiver.answer = erase
    out.deliver()
    assert out.scalar("SELECT count(*) FROM delivery_attempts") == 0
    receiver.answer = failing()
    out.deliver()
    assert receiver.told(key) == ["conversation.opened", "conversation.erased"]
    assert out.is_empty


def test_attempts_at_what_is_erased_are_forgotten(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    key, other = out.opened(), out.opened()
    erase_conversation(out.store.db, 0, key)
    out.deliver()
    assert out.attempts(key) == 2
    forget_erased(out.store.db)
    assert out.attempts(key) == 0
    assert out.attempts(other) == 1


def test_a_claim_does_not_read_all_lanes(out: Outbound, receiver: Receiver) -> None:
    """It did, from some thousand lanes on: with 100,000 a claim took 50 ms, and now 1 ms."""
    out.name(endpoint(receiver))
    out.store.execute(
        "INSERT INTO delivery_lanes (conversation_id, source_id, endpoint_id)"
        " SELECT gen_random_uuid(), 1, id FROM endpoints, generate_series(1, 20000)"
    )
    out.store.execute("VACUUM (ANALYZE) delivery_lanes")
    with out.store.engine.connect() as connection:
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        connection.exec_driver_sql(f"PREPARE claim ({', '.join(CLAIM.types)}) AS {CLAIM.text}")
        rows = connection.exec_driver_sql("EXPLAIN EXECUTE claim ('{1}', '{64}', '{20}')")
        plan = "\n".join(line for (line,) in rows)
        connection.invalidate()
    assert "Index Scan using delivery_lanes_due" in plan
    assert "Seq Scan on delivery_lanes" not in plan


# --- several processes ---


class Held:
    """Stands for `Background` in a process that stands still before its requests."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []

    def running(self, _key: str) -> int:
        return len(self.works)

    def run(self, _key: str, work: Callable[[], None]) -> None:
        self.works.append(work)


@pytest.fixture
def frozen(out: Outbound, receiver: Receiver) -> Outbound:
    """Return a process that has claimed the first delivery of a conversation, and then stood still for too long."""
    crm = out.name(endpoint(receiver))
    other = Outbound(out.store, background=Held())
    other.name(crm)
    out.opened("um", "dois")
    out.follow()
    other.sender.step(out.store.db, other.background, other.endpoints)
    assert len(other.background.works) == 1
    out.send()
    assert receiver.requests == [], "it has the lease"
    out.hurry()
    out.send()
    assert receiver.told() == EVENTS
    return other


def test_whoever_lost_the_lease_changes_nothing_any_more(out: Outbound, receiver: Receiver, frozen: Outbound) -> None:
    out.opened("um")
    out.follow()
    [work] = frozen.background.works
    work()  # its five seconds are not over: it sends once more, with the same id
    assert receiver.requests[3].id == receiver.requests[0].id
    frozen.sender.step(out.store.db, frozen.background, {})
    out.send()
    assert receiver.told()[4:] == EVENTS[:2]
    assert out.is_empty


def test_whoever_stood_still_for_longer_than_the_lease_sends_nothing_more(
    receiver: Receiver, frozen: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("realmate.deliveries.sending.time.monotonic", lambda: now + 5.1)
    [work] = frozen.background.works
    work()
    assert receiver.told() == EVENTS


def test_several_processes_send_each_event_once_and_in_order_while_events_come_in(
    out: Outbound, receiver: Receiver
) -> None:
    crm = out.name(endpoint(receiver, schedule_s=(0.0,) * 50))
    keys, done = [out.opened() for _ in range(5)], threading.Event()

    def work() -> None:
        process = Outbound(out.store)
        process.name(crm)
        while not done.is_set():
            process.deliver()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number_of in range(40):
            out.store.apply(*(saying(key, str(number_of)) for key in keys))
        until(lambda: len(receiver.requests) >= 5 * 41, timeout_s=60)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    out.deliver()
    expected = ["conversation.opened", *(f"message.received {place}" for place in range(1, 41))]
    assert all(receiver.told(key) == expected for key in keys)
    assert out.is_empty


# --- what is kept of attempts ---


def test_the_newest_attempts_are_kept_the_failed_ones_apart(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    out.store.execute(
        "INSERT INTO delivery_attempts (endpoint_id, conversation_id, source_id, event_id, type, place, event_at,"
        " attempt, took_ms, outcome, failure, answer)"
        " SELECT id, gen_random_uuid(), 0, CAST(i AS text), 'reply.created', 1, now(),"
        " 1, 1, CASE i % 2 WHEN 0 THEN 'delivered' ELSE 'failed' END, '', ''"
        " FROM endpoints, generate_series(1, 2400) AS made (i) ORDER BY made.i"
    )
    tidy(out.store.db)
    kept = "SELECT count(*) || ' from ' || min(CAST(event_id AS integer)) FROM delivery_attempts WHERE outcome = "
    assert out.scalar(kept + "'delivered'") == "500 from 1402"
    assert out.scalar(kept + "'failed'") == "1000 from 401"
    out.store.execute(
        "UPDATE delivery_attempts SET at = at - interval '31 days' WHERE CAST(event_id AS integer) < 2000"
    )
    tidy(out.store.db)
    assert out.scalar("SELECT count(*) FROM delivery_attempts") == 401


def test_who_resumes_locks_lanes_in_the_order_of_their_keys(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    first, last = sorted(str(uuid.uuid4()) for _ in range(2))
    for key in (last, first):  # so they lie in the table the other way round
        out.store.execute(
            "INSERT INTO delivery_lanes (conversation_id, source_id, endpoint_id, due_at)"
            " SELECT CAST(:key AS uuid), 1, id, now() + interval '1 hour' FROM endpoints",
            key=key,
        )
    found = pausing.find(out.store.db, "crm")
    assert found is not None
    lock = "SELECT FROM delivery_lanes WHERE conversation_id = :key FOR UPDATE NOWAIT"

    def resume() -> None:
        with out.store.db.begin() as transaction:
            pausing.resume(out.store.db, transaction, found)
            transaction.commit()

    with out.store.engine.connect() as other, ThreadPoolExecutor() as pool:
        other.execute(text("BEGIN"))
        other.execute(text(lock), {"key": first})
        resuming = pool.submit(resume)
        until(lambda: out.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        other.execute(text(lock), {"key": last})  # whoever resumes has not locked it yet
        other.execute(text("COMMIT"))
        resuming.result()
    assert out.scalar("SELECT count(*) FROM delivery_lanes WHERE due_at <= now()") == 2
