"""The database's clock is set back by an hour: deliveries do not wait until it has caught up.

Seen from the rows and from a process it is the same as an hour that was added to every moment in the rows and to the
clock that the process has seen, and that is how it is done here. (tests/faults sets the clock of a running Postgres.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from outbound import Outbound, endpoint, outbound
from realmate.deliveries.clock import DatabaseClock
from realmate.sources.limits import RateLimit
from receivers import Answer, Receiver, receiving

HOUR_S = 3_600.0
EVENTS = ["conversation.opened", "message.received 1"]


@pytest.fixture
def out(database_url: str) -> Iterator[Outbound]:
    with outbound(database_url) as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def look(out: Outbound, clock: DatabaseClock) -> None:
    clock.look(out.store.db, out.registry.known(out.endpoints))


def set_back(out: Outbound, clock: DatabaseClock | None = None) -> None:
    out.store.execute("UPDATE delivery_lanes SET due_at = due_at + interval '1 hour'")
    moved = (f"{name} = {name} + interval '1 hour'" for name in ("held_until", "sent_until", "failing_since"))
    out.store.execute(f"UPDATE endpoints SET {', '.join(moved)}")  # noqa: S608 (names from above)
    if clock is not None:
        assert clock._least_ahead_s is not None  # noqa: SLF001 (stands for an hour that the clock was ahead)
        clock._least_ahead_s += HOUR_S  # noqa: SLF001


def seen(out: Outbound) -> DatabaseClock:
    clock = DatabaseClock()
    look(out, clock)
    return clock


def lane_s(out: Outbound) -> float:
    """Return the seconds until the only lane is due."""
    return float(out.scalar("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM delivery_lanes"))


def test_what_waits_is_sent(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    key, clock = out.opened("Oi"), seen(out)
    out.follow()
    set_back(out, clock)
    out.send()
    assert receiver.told(key) == []
    look(out, clock)
    out.send()
    assert receiver.told(key) == EVENTS


def test_what_failed_is_sent_also_where_the_receiver_had_asked_for_a_pause(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, rate=RateLimit(10.0, 10)))
    key, clock = out.opened("Oi"), seen(out)
    receiver.answer = lambda _: Answer(429, headers=(("Retry-After", "60"),))
    out.deliver()
    receiver.answer = lambda _: Answer()
    set_back(out, clock)
    look(out, clock)
    out.send()
    assert receiver.told(key, only_taken=True) == EVENTS
    assert out.row("failing_since") is None


def test_a_lease_ends_no_later_than_one_that_begins_now(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, timeout_s=2.0))
    out.opened("Oi")
    clock = seen(out)
    out.follow()
    out.store.execute("UPDATE delivery_lanes SET state = 1, due_at = now() + interval '7 s'")
    set_back(out, clock)
    look(out, clock)
    assert 0 < lane_s(out) <= 2 + 5


def test_what_was_written_while_the_clock_was_set_is_found_by_the_next_look(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver))
    key, clock = out.opened("Oi"), seen(out)
    set_back(out, clock)
    look(out, clock)
    out.follow()
    set_back(out)
    look(out, clock)
    out.send()
    assert receiver.told(key) == EVENTS


def test_a_retry_that_waits_for_an_hour_by_right_waits_on(out: Outbound, receiver: Receiver) -> None:
    out.name(endpoint(receiver, schedule_s=(HOUR_S,)))
    receiver.answer = lambda _: Answer(500)
    out.opened()
    clock = seen(out)
    out.deliver()
    look(out, clock)
    look(out, DatabaseClock())
    assert lane_s(out) > HOUR_S - 60


def test_a_process_that_starts_after_the_clock_was_set_sends_what_has_not_failed(
    out: Outbound, receiver: Receiver
) -> None:
    out.name(endpoint(receiver))
    key = out.opened("Oi")
    out.follow()
    set_back(out)
    look(out, DatabaseClock())
    out.send()
    assert receiver.told(key) == EVENTS


def test_a_process_that_stood_still_takes_that_for_no_jump(
    out: Outbound, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.name(endpoint(receiver, schedule_s=(HOUR_S,)))
    receiver.answer = lambda _: Answer(500)
    out.opened()
    clock = seen(out)
    out.deliver()
    real, calls = time.monotonic, iter([0.0, 9.0])
    with monkeypatch.context() as frozen:  # between the question and the moment at which it has the answer
        frozen.setattr("realmate.deliveries.clock.time.monotonic", lambda: real() + next(calls, 9.0))
        look(out, clock)
    assert lane_s(out) > HOUR_S - 60
