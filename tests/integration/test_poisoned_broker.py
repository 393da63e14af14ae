"""Who has the broker's password puts anything into it: it is dropped, or set aside, and the next batch is served."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers import Broker, RabbitBroker, RedisBroker
from transport_processes import CallerProcess, ConsumerProcess, Processes, eventually

GARBAGE: dict[str, dict[str, object]] = {
    "a timeout of 400 digits": {"timeout_ms": "9" * 400},
    "a timeout of 5000 digits": {"timeout_ms": "9" * 5000},
    "a timeout that is no number": {"timeout_ms": "nan"},
    "an infinite timeout": {"timeout_ms": "Infinity"},
    "digits of another script": {"timeout_ms": "٣٠٠"},
    "a negative timeout": {"timeout_ms": "-1"},
    "an attempt that is no number": {"attempt": "x"},
    "no attempt that there can be": {"attempt": -1},
    "an attempt of many digits": {"attempt": "9" * 400},
    "an empty id": {"id": ""},
    "a long id": {"id": "i" * 200},
    "an id with a line in it": {"id": "a\nb"},
    "an id that is no ASCII": {"id": "olá"},
    "a long address for the reply": {"reply": "r" * 250},
}
ONLY_REDIS: dict[str, dict[str, object]] = {
    "an id that is no UTF-8": {"id": b"\xff\xfe"},
    "no id": {"id": None},
    "no payload": {"payload": None},
    "no timeout": {"timeout_ms": None},
    "an empty attempt": {"attempt": ""},
    "a reply to somebody else's channel": {"reply": "news"},
}
ONLY_RABBIT: dict[str, dict[str, object]] = {
    "a header that is a table": {"attempt": {"a": [1, "b"]}},
    "a header that is a list": {"attempt": [1, 2]},
    "a fractional attempt": {"attempt": 1.5},
    "a body that is no MessagePack": {"payload": "\xff\xff"},
    "a body that is a text": {"payload": "olá"},
    "another content type": {"content_type": "application/json"},
    "no content type": {"content_type": ""},
}


def forge(broker: Broker, forged: dict[str, object]) -> None:
    """RabbitMQ itself rejects an expiration that is no number, and many a text that is too long."""
    if isinstance(broker, RabbitBroker) and ("timeout_ms" in forged or not forged.get("id", "x")):
        return
    broker.put(**forged)


def test_garbage_in_each_field_is_dropped_and_the_next_batch_is_served(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url), processes.caller(broker.url)
    own = ONLY_REDIS if isinstance(broker, RedisBroker) else ONLY_RABBIT

    for what, forged in (GARBAGE | own).items():
        forge(broker, forged)
        assert caller.call(f"after {what}")["reply"] == f"echo after {what}", what

    assert consumer.alive
    assert eventually(lambda: broker.waiting() == 0)
    assert [each["payload"] for each in consumer.handed] == [f"after {what}" for what in GARBAGE | own]
    assert "unreadable message dropped" in consumer.log_events()


@pytest.fixture
def redis_ends(redis_broker: RedisBroker, processes: Processes) -> tuple[RedisBroker, ConsumerProcess, CallerProcess]:
    return redis_broker, processes.consumer(redis_broker.url), processes.caller(redis_broker.url)


FIELDS = ("id", "reply", "attempt", "timeout_ms", "payload", "else")


@given(st.dictionaries(st.sampled_from(FIELDS), st.binary(max_size=64) | st.integers().map(str), min_size=1))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_consumer_survives_any_entry(
    redis_ends: tuple[RedisBroker, ConsumerProcess, CallerProcess], fields: dict[str, bytes | str]
) -> None:
    broker, consumer, _ = redis_ends

    broker.put(**fields)

    assert eventually(lambda: broker.waiting() == 0), fields
    assert consumer.alive


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_caller_survives_any_reply(
    redis_ends: tuple[RedisBroker, ConsumerProcess, CallerProcess], garbage: bytes
) -> None:
    broker, _, caller = redis_ends

    [channel] = broker.client.pubsub_channels("realmate:replies:*")
    assert broker.client.publish(channel, garbage) == 1

    assert caller.call("fine")["reply"] == "echo fine"
    assert caller.alive


@pytest.mark.parametrize("kind", ["breaking loop", "breaking worker"])
def test_a_failure_that_nobody_foresaw_ends_the_process_at_once(
    broker: Broker, processes: Processes, kind: str
) -> None:
    consumer, caller = processes.consumer(broker.url, kind), processes.caller(broker.url)

    caller.start_call("the last one")

    assert consumer.end() == 1
    assert "the process ends: a part of it failed" in consumer.log_events()


def test_a_batch_that_ended_two_consumers_is_set_aside(broker: Broker, processes: Processes) -> None:
    caller = processes.caller(broker.url)
    first = processes.consumer(broker.url, "dying")
    poison = caller.start_call("poison")

    assert first.end() == 9
    second = processes.consumer(broker.url, "dying")
    assert second.end() == 9
    third = processes.consumer(broker.url, "dying")

    assert eventually(lambda: "batch is a dead letter: nobody finished it" in third.log_events())
    assert eventually(lambda: broker.waiting() == 0)
    assert broker.set_aside() == [b"poison"]
    assert caller.call("next")["reply"] == "echo next"
    assert third.alive
    assert not poison.done


def test_the_neighbours_of_such_a_batch_are_served(redis_broker: RedisBroker, processes: Processes) -> None:
    """On RabbitMQ, which does not give them out one by one, those that came with it may be set aside as well."""
    caller = processes.caller(redis_broker.url)
    calls = [caller.start_call(payload) for payload in ("one", "two", "poison", "three", "four")]
    assert eventually(lambda: redis_broker.waiting() == 5)

    for _ in range(2):
        assert processes.consumer(redis_broker.url, "dying").end() == 9
    processes.consumer(redis_broker.url, "dying")

    assert [call.result(60)["reply"] for call in calls if call.number != 2] == [
        f"echo {payload}" for payload in ("one", "two", "three", "four")
    ]
    assert eventually(lambda: redis_broker.set_aside() == [b"poison"])  # the others may come first
