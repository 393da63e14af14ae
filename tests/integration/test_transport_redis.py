"""What the transport keeps on Redis Streams alone: a Redis may forget everything at any time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import RedisBroker
from realmate.local.valkey import Valkey
from transport_processes import PATIENCE_S, Processes, eventually


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey that the test may kill."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


def test_a_call_whose_batch_was_lost_with_redis_sends_it_again(own_valkey: Valkey, processes: Processes) -> None:
    broker = RedisBroker(own_valkey)
    caller = processes.caller(broker.url)
    call = caller.start_call("lost", timeout_s=PATIENCE_S)
    assert eventually(lambda: broker.waiting() == 1)

    own_valkey.kill()
    own_valkey.start()
    consumer = processes.consumer(broker.url)

    assert call.result(PATIENCE_S)["reply"] == "echo lost"
    assert [each["redelivered"] for each in consumer.handed] == [True], "nobody can know that it is the first time"


def test_a_flushed_redis_heals_itself(redis_broker: RedisBroker, processes: Processes) -> None:
    consumer, caller = processes.consumer(redis_broker.url), processes.caller(redis_broker.url)
    assert caller.call("before")["reply"] == "echo before"

    redis_broker.empty()

    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"
    assert [each["redelivered"] for each in consumer.handed] == [False, False]


def test_a_reply_that_went_out_while_its_caller_did_not_listen_is_asked_for_again(
    own_valkey: Valkey, processes: Processes
) -> None:
    broker = RedisBroker(own_valkey)
    consumer, caller = processes.consumer(broker.url, "slow"), processes.caller(broker.url)
    call = caller.start_call("precious", timeout_s=PATIENCE_S)
    consumer.next_batch()

    broker.client.execute_command("ACL", "SETUSER", "default", "-subscribe")
    broker.client.client_kill_filter(_type="pubsub")
    assert eventually(lambda: broker.waiting() == 0)
    assert not call.done
    broker.client.execute_command("ACL", "SETUSER", "default", "+subscribe")

    assert call.result(PATIENCE_S)["reply"] == "echo precious"
    assert [each["redelivered"] for each in consumer.handed] == [False, True]
