"""The transport on Redis Streams, against a real Valkey, with callers and consumers in processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from realmate.local.valkey import Valkey

COMMANDS = "realmate:commands"
GROUP = "conversations"
PROCESS = Path(__file__).with_name("transport_process.py")
PATIENCE_S = 20.0  # what a loaded machine may need, not what is promised
CLAIM_IDLE_S = 0.5


def eventually(claim: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    give_up_at = time.monotonic() + patience_s
    while not claim():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


class Process:
    """One service of transport_process.py, and what it has told.

    It tells by a file, not a pipe: what it told before it answered can be read as soon as the answer is here.
    """

    def __init__(self, kind: str, url: str, log: Path) -> None:
        self.log = log
        self._told = log.with_suffix(".told")
        environment = {"REDIS_URL": url, "CLAIM_IDLE_S": str(CLAIM_IDLE_S), "LOG_FORMAT": "json"}
        with log.open("w") as stderr, self._told.open("w") as stdout:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", str(PROCESS), kind],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=os.environ | environment,
            )

    def __enter__(self) -> Self:
        assert eventually(lambda: any("started" in facts for facts in self.told())), self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self) -> float:
        """SIGTERM; returns the seconds it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_S) == 0, self.log.read_text()
        return time.monotonic() - started

    def told(self) -> list[dict[str, Any]]:
        """In whole lines: the last one may be half written."""
        return [json.loads(line) for line in self._told.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def log_events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines() if line.startswith("{")]

    def send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()


@dataclass
class Call:
    """A call under way in a caller's process."""

    caller: Process
    number: int

    def result(self, timeout_s: float) -> dict[str, Any]:
        """`reply` (None: TransportUnavailable) and `took_s`."""
        assert eventually(lambda: bool(self._outcome()), timeout_s)
        return self._outcome()[0]

    def _outcome(self) -> list[dict[str, Any]]:
        return [facts for facts in self.caller.told() if facts.get("call") == self.number]


class CallerProcess(Process):
    def __init__(self, url: str, log: Path) -> None:
        self._numbers = itertools.count()
        super().__init__("caller", url, log)

    def start_call(self, payload: str, *, timeout_s: float = 5.0) -> Call:
        call = Call(self, next(self._numbers))
        self.send({"call": call.number, "payload": payload, "timeout_s": timeout_s})
        return call

    def call(self, payload: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        return self.start_call(payload, timeout_s=timeout_s).result(PATIENCE_S)


class ConsumerProcess(Process):
    def __init__(self, kind: str, url: str, log: Path) -> None:
        self._taken = 0
        super().__init__(kind, url, log)

    @property
    def handed(self) -> list[dict[str, Any]]:
        return [delivery for batch in self._batches() for delivery in batch]

    def next_batch(self) -> list[dict[str, Any]]:
        """The deliveries the service was handed together."""
        assert eventually(lambda: len(self._batches()) > self._taken)
        self._taken += 1
        return self._batches()[self._taken - 1]

    def _batches(self) -> list[list[dict[str, Any]]]:
        return [facts["deliveries"] for facts in self.told() if "deliveries" in facts]


class Processes:
    """Starts the processes of one test, which ends them all."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._logs = (directory / f"{number}.log" for number in itertools.count())
        self._stack = stack

    def caller(self, url: str) -> CallerProcess:
        return self._stack.enter_context(CallerProcess(url, next(self._logs)))

    def consumer(self, url: str, kind: str = "echo") -> ConsumerProcess:
        return self._stack.enter_context(ConsumerProcess(kind, url, next(self._logs)))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey that the test may kill."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        yield client


def test_a_call_gets_the_reply_to_its_own_batch(redis_url: str, processes: Processes) -> None:
    consumer, caller = processes.consumer(redis_url), processes.caller(redis_url)

    assert caller.call("one")["reply"] == "echo one"
    assert caller.call("two")["reply"] == "echo two"

    assert [each["redelivered"] for each in consumer.handed] == [False, False]


def test_a_hundred_calls_at_once_from_two_callers_each_get_their_own_reply(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    consumers = [processes.consumer(redis_url) for _ in range(2)]
    callers = [processes.caller(redis_url) for _ in range(2)]

    calls = {f"{who}-{number}": caller.start_call(f"{who}-{number}") for who, caller in enumerate(callers)
             for number in range(50)}  # fmt: skip

    assert {payload: call.result(PATIENCE_S)["reply"] for payload, call in calls.items()} == {
        payload: f"echo {payload}" for payload in calls
    }
    handed = [each["payload"] for consumer in consumers for each in consumer.handed]
    assert sorted(handed) == sorted(calls), "each batch is handed out once"
    assert eventually(lambda: broker.xlen(COMMANDS) == 0), "what was answered is deleted"


def test_batches_that_waited_are_merged_but_for_the_limit(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    caller = processes.caller(redis_url)
    calls = [caller.start_call(f"{number}", timeout_s=PATIENCE_S) for number in range(20)]
    assert eventually(lambda: broker.xlen(COMMANDS) == 20)

    consumer = processes.consumer(redis_url)

    assert [call.result(PATIENCE_S)["reply"] for call in calls] == [f"echo {number}" for number in range(20)]
    assert [len(consumer.next_batch()) for _ in range(3)] == [8, 8, 4]  # CONSUMER_MAX_MERGE is 8


def test_what_a_killed_consumer_had_in_hand_is_redelivered_and_its_caller_still_gets_the_reply(
    redis_url: str, processes: Processes
) -> None:
    doomed, caller = processes.consumer(redis_url, "hanging"), processes.caller(redis_url)
    call = caller.start_call("precious", timeout_s=PATIENCE_S)
    [first] = doomed.next_batch()
    doomed.signal(signal.SIGKILL)

    heir = processes.consumer(redis_url)

    assert call.result(PATIENCE_S)["reply"] == "echo precious"
    assert not first["redelivered"]
    assert heir.handed == [{"id": first["id"], "payload": "precious", "redelivered": True}]


def test_what_a_frozen_consumer_had_in_hand_is_redelivered(redis_url: str, processes: Processes) -> None:
    frozen, caller = processes.consumer(redis_url, "hanging"), processes.caller(redis_url)
    call = caller.start_call("precious", timeout_s=PATIENCE_S)
    frozen.next_batch()
    frozen.signal(signal.SIGSTOP)

    heir = processes.consumer(redis_url)

    assert call.result(PATIENCE_S)["reply"] == "echo precious"
    assert [each["redelivered"] for each in heir.handed] == [True]


def test_a_consumer_that_is_slow_but_alive_keeps_its_batch(redis_url: str, processes: Processes) -> None:
    slow, caller = processes.consumer(redis_url, "slow"), processes.caller(redis_url)
    call = caller.start_call("patience", timeout_s=PATIENCE_S)
    slow.next_batch()

    idle = processes.consumer(redis_url)

    assert call.result(PATIENCE_S)["reply"] == "echo patience"
    assert len(slow.handed) == 1
    assert idle.handed == []


def test_a_batch_whose_handler_raised_comes_again_but_not_at_once(redis_url: str, processes: Processes) -> None:
    consumer, caller = processes.consumer(redis_url, "failing once"), processes.caller(redis_url)

    outcome = caller.call("again", timeout_s=PATIENCE_S)

    assert outcome["reply"] == "echo again"
    assert outcome["took_s"] >= CLAIM_IDLE_S
    first, second = consumer.handed
    assert second == first | {"redelivered": True}
    assert consumer.log.read_text().count("the store is away") > 0, "the failure is in the log"


def test_a_restart_of_redis_that_lost_everything_is_ridden_out(own_valkey: Valkey, processes: Processes) -> None:
    consumer, caller = processes.consumer(own_valkey.url), processes.caller(own_valkey.url)
    assert caller.call("before")["reply"] == "echo before"

    own_valkey.kill()
    meanwhile = caller.start_call("meanwhile", timeout_s=PATIENCE_S)
    time.sleep(1)
    own_valkey.start()

    assert meanwhile.result(PATIENCE_S)["reply"] == "echo meanwhile"
    assert caller.call("after")["reply"] == "echo after"
    for process in (consumer, caller):
        assert eventually(lambda process=process: "redis back" in process.log_events())
        assert process.log_events().count("redis lost") == 1, "one line an outage"
        assert process.log_events().count("redis back") == 1


def test_a_call_whose_batch_was_lost_with_redis_sends_it_again(own_valkey: Valkey, processes: Processes) -> None:
    caller = processes.caller(own_valkey.url)
    call = caller.start_call("lost", timeout_s=PATIENCE_S)
    with redis.Redis.from_url(own_valkey.url) as client:
        assert eventually(lambda: client.xlen(COMMANDS) == 1)

    own_valkey.kill()
    own_valkey.start()
    consumer = processes.consumer(own_valkey.url)

    assert call.result(PATIENCE_S)["reply"] == "echo lost"
    assert [each["redelivered"] for each in consumer.handed] == [True], "nobody can know that it is the first time"


def test_a_flushed_redis_heals_itself(redis_url: str, processes: Processes, broker: redis.Redis) -> None:
    consumer, caller = processes.consumer(redis_url), processes.caller(redis_url)
    assert caller.call("before")["reply"] == "echo before"

    broker.flushall()

    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"
    assert [each["redelivered"] for each in consumer.handed] == [False, False]


def test_a_batch_past_its_deadline_is_dropped_and_never_handed_over(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    caller = processes.caller(redis_url)
    late = caller.start_call("too late", timeout_s=2)
    assert eventually(lambda: broker.xlen(COMMANDS) == 1)
    assert late.result(PATIENCE_S)["reply"] is None

    consumer = processes.consumer(redis_url)

    assert eventually(lambda: broker.xlen(COMMANDS) == 0)
    assert caller.call("in time")["reply"] == "echo in time"
    assert [each["payload"] for each in consumer.handed] == ["in time"]


def test_a_consumer_that_froze_before_reading_drops_what_is_past_its_deadline(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    consumer, caller = processes.consumer(redis_url), processes.caller(redis_url)
    assert caller.call("before")["reply"] == "echo before"

    consumer.signal(signal.SIGSTOP)
    late = caller.start_call("too late", timeout_s=1)
    assert eventually(lambda: broker.xlen(COMMANDS) == 1)
    assert late.result(PATIENCE_S)["reply"] is None
    consumer.signal(signal.SIGCONT)

    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"
    assert "too late" not in [each["payload"] for each in consumer.handed]


def test_an_unreadable_command_is_dropped_and_stops_nobody(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    broker.xadd(COMMANDS, {"from": "another world"})
    consumer, caller = processes.consumer(redis_url), processes.caller(redis_url)

    assert caller.call("fine")["reply"] == "echo fine"
    assert eventually(lambda: broker.xlen(COMMANDS) == 0)
    assert "unreadable command dropped" in consumer.log_events()


def test_a_call_ends_in_time_when_nobody_consumes(redis_url: str, processes: Processes) -> None:
    outcome = processes.caller(redis_url).call("anyone?", timeout_s=0.5)

    assert outcome["reply"] is None
    assert 0.5 <= outcome["took_s"] < 2


def test_a_call_ends_in_time_when_redis_is_down(own_valkey: Valkey, processes: Processes) -> None:
    caller = processes.caller(own_valkey.url)
    own_valkey.kill()

    outcome = caller.call("anyone?", timeout_s=0.5)

    assert outcome["reply"] is None
    assert outcome["took_s"] < 2


def test_a_call_ends_in_time_when_redis_hangs_and_the_next_succeeds_when_it_goes_on(
    own_valkey: Valkey, processes: Processes
) -> None:
    processes.consumer(own_valkey.url)
    caller = processes.caller(own_valkey.url)
    assert caller.call("before")["reply"] == "echo before"

    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        outcome = caller.call("anyone?", timeout_s=0.5)
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)

    assert outcome["reply"] is None
    assert outcome["took_s"] < 2
    assert caller.call("after", timeout_s=PATIENCE_S)["reply"] == "echo after"


def test_an_idle_consumer_stops_soon_and_leaves_nothing(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    consumer, caller = processes.consumer(redis_url), processes.caller(redis_url)
    assert caller.call("before")["reply"] == "echo before"

    assert consumer.terminate() < 5

    assert broker.xinfo_consumers(COMMANDS, GROUP) == []
    assert broker.xpending(COMMANDS, GROUP)["pending"] == 0


def test_a_stopping_consumer_finishes_and_answers_what_it_has_in_hand(
    redis_url: str, processes: Processes, broker: redis.Redis
) -> None:
    consumer, caller = processes.consumer(redis_url, "slow"), processes.caller(redis_url)
    call = caller.start_call("last wish")
    consumer.next_batch()

    consumer.terminate()

    assert call.result(PATIENCE_S)["reply"] == "echo last wish"
    assert broker.xinfo_consumers(COMMANDS, GROUP) == []
    assert broker.xpending(COMMANDS, GROUP)["pending"] == 0


def test_a_stopping_caller_lets_its_calls_finish(redis_url: str, processes: Processes) -> None:
    consumer, caller = processes.consumer(redis_url, "slow"), processes.caller(redis_url)
    call = caller.start_call("last wish")
    consumer.next_batch()

    caller.terminate()

    assert call.result(PATIENCE_S)["reply"] == "echo last wish"


def test_callers_and_consumers_stop_soon_while_redis_is_away(own_valkey: Valkey, processes: Processes) -> None:
    consumer, caller = processes.consumer(own_valkey.url), processes.caller(own_valkey.url)
    own_valkey.kill()

    assert consumer.terminate() < 5
    assert caller.terminate() < 5


@pytest.mark.parametrize("kind", ["caller", "echo"])
def test_an_unknown_transport_is_refused_with_the_known_ones_named(kind: str) -> None:
    process = subprocess.run(
        [sys.executable, str(PROCESS), kind],
        env=os.environ | {"TRANSPORT_URL": "carrier-pigeon://loft"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert process.returncode != 0
    assert "carrier-pigeon:// is no transport; known are redis://, rediss://, unix://" in process.stderr
