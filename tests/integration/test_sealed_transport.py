"""With TRANSPORT_KEYS_FILE, who has only the broker's password can make neither a batch nor a verdict."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from brokers import Broker, RedisBroker
from transport_processes import Process, Processes, eventually

KEY, OTHER = "k" * 32, "o" * 32


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "transport.keys"
    path.write_text(KEY)
    return path


def rejected(process: Process, reason: str) -> bool:
    return any(f'"{reason}"' in line for line in process.log.read_text().splitlines() if "dropped" in line)


def test_both_ends_with_the_key_work_together(broker: Broker, processes: Processes, keys: Path) -> None:
    processes.consumer(broker.url, transport_keys_file=str(keys))
    caller = processes.caller(broker.url, transport_keys_file=str(keys))

    assert caller.call("signed")["reply"] == "echo signed"


def test_a_batch_without_a_seal_or_with_a_wrong_one_is_dropped(
    broker: Broker, processes: Processes, keys: Path
) -> None:
    consumer = processes.consumer(broker.url, transport_keys_file=str(keys))

    broker.put()
    assert eventually(lambda: rejected(consumer, "unsigned"))
    broker.put(seal="1.1764150000000.5000." + "00" * 32)
    assert eventually(lambda: rejected(consumer, "signature"))

    caller = processes.caller(broker.url, transport_keys_file=str(keys))
    assert caller.call("signed")["reply"] == "echo signed"
    assert [each["payload"] for each in consumer.handed] == ["signed"]
    assert eventually(lambda: broker.waiting() == 0)


def test_ends_with_different_keys_do_not_believe_each_other(
    broker: Broker, processes: Processes, keys: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.keys"
    other.write_text(OTHER)
    consumer = processes.consumer(broker.url, transport_keys_file=str(other))
    caller = processes.caller(broker.url, transport_keys_file=str(keys))

    assert caller.call("foreign", timeout_s=2)["reply"] is None
    assert consumer.handed == []
    assert rejected(consumer, "signature")


def test_a_reply_of_an_end_without_a_key_is_not_believed(broker: Broker, processes: Processes, keys: Path) -> None:
    consumer = processes.consumer(broker.url)
    caller = processes.caller(broker.url, transport_keys_file=str(keys))

    assert caller.call("precious", timeout_s=2)["reply"] is None
    assert [each["payload"] for each in consumer.handed] == ["precious"]
    assert rejected(caller, "unsigned") or rejected(caller, "signature")


def test_a_forged_verdict_is_not_believed(redis_broker: RedisBroker, processes: Processes, keys: Path) -> None:
    consumer = processes.consumer(redis_broker.url, "slow", transport_keys_file=str(keys))
    caller = processes.caller(redis_broker.url, transport_keys_file=str(keys))
    call = caller.start_call("precious")
    [delivery] = consumer.next_batch()
    [channel] = redis_broker.client.pubsub_channels("realmate:replies:*")

    redis_broker.client.publish(channel, msgspec.msgpack.encode((delivery["id"], b"forged")))
    redis_broker.client.publish(channel, msgspec.msgpack.encode((delivery["id"], b"forged", "1.1.0." + "00" * 32)))

    assert call.result(60)["reply"] == "echo precious"


def test_a_batch_that_was_recorded_cannot_be_led_to_somebody_else(
    redis_broker: RedisBroker, processes: Processes, keys: Path
) -> None:
    caller = processes.caller(redis_broker.url, transport_keys_file=str(keys))
    caller.call("recorded", timeout_s=0.5)
    [(_, fields)] = redis_broker.stored()
    consumer = processes.consumer(redis_broker.url, transport_keys_file=str(keys))
    assert eventually(lambda: redis_broker.waiting() == 0)

    redis_broker.client.xadd("realmate:commands", fields | {b"reply": b"realmate:replies:mine"})

    assert eventually(lambda: rejected(consumer, "signature"))
    assert consumer.handed == []


def test_keys_rotate_while_both_ends_run(broker: Broker, processes: Processes, keys: Path) -> None:
    consumer = processes.consumer(broker.url, transport_keys_file=str(keys))
    caller = processes.caller(broker.url, transport_keys_file=str(keys))

    for step, content in enumerate((f"{KEY}\n{OTHER}", f"{OTHER}\n{KEY}", OTHER), start=1):
        keys.write_text(content)
        assert eventually(lambda step=step: consumer.log_events().count("file read") == step)  # type: ignore[misc]
        assert eventually(lambda step=step: caller.log_events().count("file read") == step)  # type: ignore[misc]
        assert caller.call(f"{step}")["reply"] == f"echo {step}"


def test_a_file_that_says_so_takes_what_is_unsigned(broker: Broker, processes: Processes, keys: Path) -> None:
    """The way from nothing to seals: first files with that line, then without."""
    keys.write_text(f"unsigned\n{KEY}")
    consumer = processes.consumer(broker.url, transport_keys_file=str(keys))
    without, caller = processes.caller(broker.url), processes.caller(broker.url, transport_keys_file=str(keys))

    assert without.call("unsigned")["reply"] == "echo unsigned"
    assert caller.call("signed")["reply"] == "echo signed"

    keys.write_text(KEY)
    assert eventually(lambda: "file read" in consumer.log_events())
    assert without.call("unsigned", timeout_s=1)["reply"] is None
