"""Loops that hang, loops that do not come to their work, and loops that fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import eventlet
import pytest

from realmate.runtime.health import Health
from realmate.runtime.loops import Loops
from realmate.runtime.timers import Periodic

FAIL = """
import eventlet
from realmate.runtime.loops import loops
loops.spawn("deliver", lambda: {}["nobody foresaw this"])
eventlet.sleep(30)
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [1000.0]
    monkeypatch.setattr("realmate.runtime.loops.time.monotonic", lambda: now[0])
    return lambda moment: now.__setitem__(0, moment)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Loops:
    loops = Loops()
    monkeypatch.setattr("realmate.runtime.health.loops", loops)
    return loops


def test_a_loop_that_hangs_is_named_by_liveness(loops: Loops, clock: Callable[[float], None]) -> None:
    hangs = loops.spawn("receive", lambda: eventlet.sleep(3600))
    eventlet.sleep(0)
    assert Health().live().status == 200
    health = Health()
    assert (health.ready().status, health.serving().status) == (200, 200)

    clock(1061)

    assert loops.silent() == {"receive": "has sent no heartbeat for 61 s"}
    assert Health().live().status == 503
    assert b"receive" in Health().live().body
    assert health.serving().status == 503
    hangs.kill()
    assert loops.silent() == {}, "who ended it does not miss it"


def test_a_loop_that_turns_without_working_is_named_by_readiness(loops: Loops, clock: Callable[[float], None]) -> None:
    def turn() -> None:
        while True:
            loops.heartbeat()
            eventlet.sleep(0)

    turning = loops.spawn("sweep", turn, works_within_s=60)
    eventlet.sleep(0)
    assert Health().ready().status == 200

    clock(1061)
    eventlet.sleep(0)

    assert loops.silent() == {}
    assert loops.idle() == {"sweep": "has not done its work for 61 s"}
    assert Health().ready().status == 503
    turning.kill()


def test_a_loop_that_works_is_well(loops: Loops, clock: Callable[[float], None]) -> None:
    def work() -> None:
        while True:
            loops.worked()
            eventlet.sleep(0)

    working = loops.spawn("sweep", work, works_within_s=60)
    eventlet.sleep(0)
    clock(5000)
    eventlet.sleep(0)

    assert loops.silent() == loops.idle() == {}
    working.kill()


def test_others_may_turn_in_vain(loops: Loops) -> None:
    loops.heartbeat()
    loops.worked()

    assert loops.silent() == loops.idle() == {}


def test_a_loop_that_fails_ends_its_process_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FAIL], capture_output=True, text=True, timeout=20, check=False
    )

    assert ended.returncode == 1
    assert "deliver" in ended.stdout + ended.stderr
    assert "nobody foresaw this" in ended.stdout + ended.stderr


def test_a_timer_that_pauses_for_long_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[None] = []
    monkeypatch.setattr("realmate.runtime.timers.loops.heartbeat", lambda: beats.append(None))
    monkeypatch.setattr("realmate.runtime.timers.HEARTBEAT_PAUSE_S", 0.01)
    timer = Periodic(pause_s=lambda _settings: 3600.0)
    pausing = eventlet.spawn(timer._pause, 3600.0)  # noqa: SLF001 (a run needs a whole service)
    eventlet.sleep(0.1)
    pausing.kill()
    assert len(beats) > 2
