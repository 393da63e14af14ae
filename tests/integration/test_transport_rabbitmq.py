"""What the transport keeps on RabbitMQ alone: durable, Nameko's protocol, MessagePack and nothing else."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from brokers import EXCHANGE, QUEUE, RabbitBroker
from rabbitmq import RabbitMQ
from realmate.transport.amqp.connections import DELIVERY_LIMIT
from transport_processes import CLAIM_IDLE_S, PATIENCE_S, Processes, eventually

PREFETCH = 8
"""CONSUMER_MAX_MERGE times CONSUMER_BATCHES_IN_FLIGHT."""

CALL_WITH_NAMEKO = """
import sys
from nameko.standalone.rpc import ServiceRpcProxy

config = {"AMQP_URI": sys.argv[1], "serializer": "msgpack", "ACCEPT": ["msgpack"]}
with ServiceRpcProxy("conversations", config, timeout=10) as conversations:
    print(conversations.apply(b"by Nameko").decode())
"""


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ that the test may kill."""
    with RabbitMQ(tmp_path / "rabbitmq") as server:
        yield server


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._file,)


def test_a_confirmed_batch_survives_the_broker_and_both_its_copies_are_one_to_the_consumer(
    own_rabbitmq: RabbitMQ, processes: Processes
) -> None:
    broker = RabbitBroker(own_rabbitmq)
    caller = processes.caller(broker.url)
    call = caller.start_call("kept", timeout_s=PATIENCE_S)
    assert eventually(lambda: broker.waiting() == 1)

    broker.kill()
    own_rabbitmq.start()
    assert eventually(lambda: broker.waiting() >= 2), "the batch itself, and the one sent again"
    consumer = processes.consumer(broker.url)

    assert call.result(PATIENCE_S)["reply"] == "echo kept"
    assert {each["id"] for each in consumer.handed} == {consumer.handed[0]["id"]}
    assert eventually(lambda: broker.waiting() == 0)


def test_the_queue_is_a_quorum_queue(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    processes.consumer(rabbit_broker.url)

    with kombu.Connection(rabbit_broker.url) as connection:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
        connection.channel().queue_declare(QUEUE, durable=True, arguments=arguments, auto_delete=False)


def make_queue(broker: RabbitBroker, **arguments: object) -> None:
    """As an operator may have made it, before us and otherwise than we would."""
    exchange = kombu.Exchange(EXCHANGE, type="topic", durable=True)
    queue = kombu.Queue(QUEUE, exchange, routing_key="conversations.*", durable=True, queue_arguments=arguments)
    with kombu.Connection(broker.url) as connection:
        queue(connection.channel()).declare()


def test_a_queue_that_was_made_otherwise_is_used_as_it_is(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    make_queue(rabbit_broker, **{"x-max-length": 1000})
    processes.consumer(rabbit_broker.url)

    assert processes.caller(rabbit_broker.url).call("still")["reply"] == "echo still"


def test_what_the_broker_rejects_to_take_is_offered_again(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    """Without confirms, nobody would notice that a full queue took nothing."""
    make_queue(rabbit_broker, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    caller = processes.caller(rabbit_broker.url)
    calls = [caller.start_call(f"{number}", timeout_s=PATIENCE_S) for number in range(5)]
    assert eventually(lambda: "rabbitmq lost" in caller.log_events())
    assert rabbit_broker.waiting() <= 2, "RabbitMQ lets one more in"

    processes.consumer(rabbit_broker.url)

    assert [call.result(PATIENCE_S)["reply"] for call in calls] == [f"echo {number}" for number in range(5)]


def test_a_deleted_queue_heals_itself(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    processes.consumer(rabbit_broker.url)
    caller = processes.caller(rabbit_broker.url)
    assert caller.call("before")["reply"] == "echo before"

    rabbit_broker.empty()

    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"


def test_a_consumer_takes_no_more_than_its_prefetch_and_others_get_the_rest(
    rabbit_broker: RabbitBroker, processes: Processes
) -> None:
    hanging, caller = processes.consumer(rabbit_broker.url, "hanging"), processes.caller(rabbit_broker.url)
    calls = [caller.start_call(f"{number}", timeout_s=PATIENCE_S) for number in range(PREFETCH + 12)]
    hanging.next_batch()
    assert eventually(lambda: rabbit_broker.waiting() == 12)

    processes.consumer(rabbit_broker.url)

    assert eventually(lambda: rabbit_broker.waiting() == 0)
    assert eventually(lambda: sum(call.done for call in calls) == 12)


def test_a_batch_that_fails_again_and_again_does_not_spin(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    consumer, caller = processes.consumer(rabbit_broker.url, "failing"), processes.caller(rabbit_broker.url)

    outcome = caller.call("poison", timeout_s=6)

    assert outcome["reply"] is None
    assert 2 <= len(consumer.handed) <= 6 / CLAIM_IDLE_S
    assert eventually(lambda: rabbit_broker.waiting() == 0), "it expires"
    handed = len(consumer.handed)
    time.sleep(3 * CLAIM_IDLE_S)
    assert len(consumer.handed) == handed


def test_a_pickle_is_dropped_unread(rabbit_broker: RabbitBroker, processes: Processes, tmp_path: Path) -> None:
    consumer, caller = processes.consumer(rabbit_broker.url), processes.caller(rabbit_broker.url)
    sprung = tmp_path / "sprung"

    rabbit_broker.publish(Trap(sprung), serializer="pickle")

    assert eventually(lambda: "unreadable message dropped" in consumer.log_events())
    assert caller.call("fine")["reply"] == "echo fine"
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # noqa: S301 (our own: the trap works)
    assert sprung.exists()


def test_a_plain_nameko_proxy_can_call(rabbit_broker: RabbitBroker, processes: Processes) -> None:
    processes.consumer(rabbit_broker.url)

    nameko = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CALL_WITH_NAMEKO, rabbit_broker.url],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert nameko.stdout.strip() == "echo by Nameko", nameko.stderr
