"""What every transport keeps, on Redis Streams and on RabbitMQ: real brokers, callers and consumers in processes."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from brokers import Broker
from transport_processes import CLAIM_IDLE_S, PATIENCE_S, Process, Processes, eventually

SOON_S = 20.0
"""On a machine that runs other tests too: nothing is waited for that does not come."""


def test_a_call_gets_the_reply_to_its_own_batch(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url), processes.caller(broker.url)

    assert caller.call("one")["reply"] == "echo one"
    assert caller.call("two")["reply"] == "echo two"

    assert [each["redelivered"] for each in consumer.handed] == [False, False]


def test_a_hundred_calls_at_once_from_two_callers_each_get_their_own_reply(
    broker: Broker, processes: Processes
) -> None:
    consumers = [processes.consumer(broker.url) for _ in range(2)]
    callers = [processes.caller(broker.url) for _ in range(2)]

    calls = {f"{who}-{number}": caller.start_call(f"{who}-{number}") for who, caller in enumerate(callers)
             for number in range(50)}  # fmt: skip

    assert {payload: call.result(PATIENCE_S)["reply"] for payload, call in calls.items()} == {
        payload: f"echo {payload}" for payload in calls
    }
    handed = [each["payload"] for consumer in consumers for each in consumer.handed]
    assert sorted(handed) == sorted(calls), "each batch is handed out once"
    assert eventually(lambda: broker.waiting() == 0), "what was answered is deleted"


def test_batches_that_waited_are_merged_but_for_the_limit(broker: Broker, processes: Processes) -> None:
    caller = processes.caller(broker.url)
    calls = [caller.start_call(f"{number}", timeout_s=PATIENCE_S) for number in range(20)]
    assert eventually(lambda: broker.waiting() == 20)

    consumer = processes.consumer(broker.url)

    assert [call.result(PATIENCE_S)["reply"] for call in calls] == [f"echo {number}" for number in range(20)]
    sizes = [len(batch) for batch in consumer.batches]
    assert sum(sizes) == 20
    assert max(sizes) == 8, "CONSUMER_MAX_MERGE"


def test_what_a_killed_consumer_had_in_hand_is_redelivered_and_its_caller_still_gets_the_reply(
    broker: Broker, processes: Processes
) -> None:
    doomed, caller = processes.consumer(broker.url, "hanging"), processes.caller(broker.url)
    call = caller.start_call("precious", timeout_s=PATIENCE_S)
    [first] = doomed.next_batch()
    doomed.signal(signal.SIGKILL)

    heir = processes.consumer(broker.url)

    assert call.result(PATIENCE_S)["reply"] == "echo precious"
    assert not first["redelivered"]
    assert heir.handed == [{"id": first["id"], "payload": "precious", "redelivered": True}]


def test_what_a_frozen_consumer_had_in_hand_is_redelivered(broker: Broker, processes: Processes) -> None:
    frozen, caller = processes.consumer(broker.url, "hanging"), processes.caller(broker.url)
    call = caller.start_call("precious", timeout_s=PATIENCE_S)
    frozen.next_batch()
    frozen.signal(signal.SIGSTOP)

    heir = processes.consumer(broker.url)

    assert call.result(PATIENCE_S)["reply"] == "echo precious"
    assert [each["redelivered"] for each in heir.handed] == [True]


def test_a_consumer_that_is_slow_but_alive_keeps_its_batch(broker: Broker, processes: Processes) -> None:
    slow, caller = processes.consumer(broker.url, "slow"), processes.caller(broker.url)
    call = caller.start_call("patience", timeout_s=PATIENCE_S)
    slow.next_batch()

    idle = processes.consumer(broker.url)

    assert call.result(PATIENCE_S)["reply"] == "echo patience"
    assert len(slow.handed) == 1
    assert idle.handed == []


def test_a_batch_whose_handler_raised_comes_again_but_not_at_once(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url, "failing once"), processes.caller(broker.url)

    outcome = caller.call("again", timeout_s=PATIENCE_S)

    assert outcome["reply"] == "echo again"
    assert outcome["took_s"] >= CLAIM_IDLE_S
    first, second = consumer.handed
    assert second == first | {"redelivered": True}
    assert consumer.log.read_text().count("the store is away") > 0, "the failure is in the log"


def has_logged(process: Process, event: str) -> bool:
    return event in process.log_events()


def test_a_restart_of_the_broker_is_ridden_out(own_broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(own_broker.url), processes.caller(own_broker.url)
    assert caller.call("before")["reply"] == "echo before"

    own_broker.kill()
    meanwhile = caller.start_call("meanwhile", timeout_s=PATIENCE_S)
    time.sleep(1)
    own_broker.server.start()

    assert meanwhile.result(PATIENCE_S)["reply"] == "echo meanwhile"
    assert caller.call("after")["reply"] == "echo after"
    for process in (consumer, caller):
        assert eventually(partial(has_logged, process, f"{own_broker.name} back"))
        assert process.log_events().count(f"{own_broker.name} lost") == 1, "one line an outage"
        assert process.log_events().count(f"{own_broker.name} back") == 1


def test_a_batch_past_its_deadline_is_dropped_and_never_handed_over(broker: Broker, processes: Processes) -> None:
    caller = processes.caller(broker.url)
    late = caller.start_call("too late", timeout_s=4)
    assert eventually(lambda: broker.waiting() == 1)
    assert late.result(PATIENCE_S)["reply"] is None

    consumer = processes.consumer(broker.url)

    assert eventually(lambda: broker.waiting() == 0)
    assert caller.call("in time")["reply"] == "echo in time"
    assert [each["payload"] for each in consumer.handed] == ["in time"]


def test_a_consumer_that_froze_before_reading_drops_what_is_past_its_deadline(
    broker: Broker, processes: Processes
) -> None:
    consumer, caller = processes.consumer(broker.url), processes.caller(broker.url)
    assert caller.call("before")["reply"] == "echo before"

    consumer.signal(signal.SIGSTOP)
    assert caller.call("too late", timeout_s=1)["reply"] is None
    consumer.signal(signal.SIGCONT)

    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"
    assert "too late" not in [each["payload"] for each in consumer.handed]


def test_a_batch_whose_deadline_passed_while_its_consumer_was_busy_is_never_handed_over(
    broker: Broker, processes: Processes
) -> None:
    consumer, caller = processes.consumer(broker.url, "slow"), processes.caller(broker.url)
    busy = caller.start_call("busy")
    consumer.next_batch()
    assert caller.call("too late", timeout_s=0.5)["reply"] is None

    assert busy.result(PATIENCE_S)["reply"] == "echo busy"
    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"
    assert [each["payload"] for each in consumer.handed] == ["busy", "after"]


def test_an_unreadable_command_is_dropped_and_stops_nobody(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url), processes.caller(broker.url)

    broker.put_rubbish()

    assert caller.call("fine")["reply"] == "echo fine"
    assert eventually(lambda: broker.waiting() == 0)
    assert "unreadable message dropped" in consumer.log_events()


def test_a_call_ends_in_time_when_nobody_consumes(broker: Broker, processes: Processes) -> None:
    outcome = processes.caller(broker.url).call("anyone?", timeout_s=0.5)

    assert outcome["reply"] is None
    assert 0.5 <= outcome["took_s"] < SOON_S


def test_a_call_ends_in_time_when_the_broker_is_down(own_broker: Broker, processes: Processes) -> None:
    caller = processes.caller(own_broker.url)
    own_broker.server.kill()

    outcome = caller.call("anyone?", timeout_s=0.5)

    assert outcome["reply"] is None
    assert outcome["took_s"] < SOON_S


def test_a_call_ends_in_time_when_the_broker_hangs_and_the_next_succeeds_when_it_goes_on(
    own_broker: Broker, processes: Processes
) -> None:
    processes.consumer(own_broker.url)
    caller = processes.caller(own_broker.url)
    assert caller.call("before")["reply"] == "echo before"

    os.kill(own_broker.server.pid, signal.SIGSTOP)
    try:
        outcome = caller.call("anyone?", timeout_s=0.5)
    finally:
        os.kill(own_broker.server.pid, signal.SIGCONT)

    assert outcome["reply"] is None
    assert outcome["took_s"] < SOON_S
    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"


def test_an_idle_consumer_stops_soon_and_leaves_nothing(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url), processes.caller(broker.url)
    assert caller.call("before")["reply"] == "echo before"

    assert consumer.terminate() < SOON_S

    assert broker.consumers() == 0
    assert broker.waiting() == 0


def test_a_stopping_consumer_finishes_and_answers_what_it_has_in_hand(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url, "slow"), processes.caller(broker.url)
    call = caller.start_call("last wish")
    consumer.next_batch()

    consumer.terminate()

    assert call.result(PATIENCE_S)["reply"] == "echo last wish"
    assert broker.consumers() == 0
    assert broker.waiting() == 0


def test_a_stopping_caller_lets_its_calls_finish(broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(broker.url, "slow"), processes.caller(broker.url)
    call = caller.start_call("last wish")
    consumer.next_batch()

    caller.terminate()

    assert call.result(PATIENCE_S)["reply"] == "echo last wish"


def test_callers_and_consumers_stop_soon_while_the_broker_is_away(own_broker: Broker, processes: Processes) -> None:
    consumer, caller = processes.consumer(own_broker.url), processes.caller(own_broker.url)
    own_broker.server.kill()

    assert consumer.terminate() < SOON_S
    assert caller.terminate() < SOON_S
