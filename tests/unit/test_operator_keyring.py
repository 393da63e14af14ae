"""Generated keys: no sender ever has one that a pod rejects, and none is rejected before its time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from realmate.kube_operator.keyring import Key, Keyring, Rotation, make_key, next_keyring, next_rotation
from realmate.sources.signing import StandardWebhooks

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAILY = Rotation(every=24 * HOUR, overlap=HOUR)


class Senders:
    """Turns of the clock over one keyring, and what senders and pods see of it."""

    def __init__(self, rotation: Rotation) -> None:
        self.now = START
        self.rotation = rotation
        self.loaded: set[str] = set()
        self.asked = ""
        self.ring = next_keyring(None, rotation, asked="", accepted=self.is_accepted, now=START)

    def is_accepted(self, key: Key) -> bool:
        return key.secret in self.loaded

    def reconcile(self, *, after: timedelta = timedelta(0), load: bool = True) -> Keyring:
        if load:
            self.loaded = {key.secret for key in self.ring.keys}
        self.now += after
        self.ring = next_keyring(self.ring, self.rotation, asked=self.asked, accepted=self.is_accepted, now=self.now)
        return self.ring


def test_the_first_key_is_current_at_once_and_good() -> None:
    ring = Senders(DAILY).ring
    assert ring.current == ring.keys[0]
    StandardWebhooks([ring.current.secret])


def test_nothing_changes_without_a_reason() -> None:
    senders = Senders(Rotation())
    assert senders.reconcile(after=10_000 * HOUR) == senders.reconcile()
    assert next_rotation(senders.ring, Rotation()) is None


def test_a_new_key_is_current_only_when_every_pod_takes_it() -> None:
    senders = Senders(DAILY)
    first = senders.ring.current
    assert len(senders.reconcile(after=24 * HOUR).keys) == 2
    assert senders.reconcile(load=False, after=HOUR).current == first
    assert senders.reconcile().current != first


def test_the_old_one_is_accepted_for_the_overlap_and_then_goes() -> None:
    senders = Senders(DAILY)
    first = senders.ring.current
    senders.reconcile(after=24 * HOUR)
    assert senders.reconcile().keys[1] == msgspec.structs.replace(first, retires_at=senders.now + HOUR)
    assert len(senders.reconcile(after=HOUR - timedelta(seconds=1)).keys) == 2
    assert len(senders.reconcile(after=timedelta(seconds=1)).keys) == 1


def test_who_asks_gets_one_rotation_for_each_text() -> None:
    senders = Senders(Rotation(overlap=HOUR))
    senders.asked = "leaked"
    assert len(senders.reconcile().keys) == 2
    assert len(senders.reconcile().keys) == 2
    assert len(senders.reconcile().keys) == 2
    assert len(senders.reconcile(after=HOUR).keys) == 1
    senders.asked = "leaked again"
    assert len(senders.reconcile().keys) == 2


def test_what_was_asked_before_the_first_key_is_no_rotation() -> None:
    ring = next_keyring(None, Rotation(), asked="old", accepted=lambda _: True, now=START)
    assert next_keyring(ring, Rotation(), asked="old", accepted=lambda _: True, now=START) == ring


def test_it_is_stored_and_read_as_it_is() -> None:
    senders = Senders(DAILY)
    senders.reconcile(after=24 * HOUR)
    ring = senders.reconcile()
    assert msgspec.json.decode(msgspec.json.encode(ring), type=Keyring) == ring


def test_a_key_shows_its_secret_to_nobody() -> None:
    key = make_key(START)
    assert key.secret not in f"{key} {Keyring((key,))}"


steps = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.sampled_from(["", "a", "b"])), min_size=1, max_size=30)


@given(steps)
def test_whatever_happens_pods_take_what_senders_have(course: list[tuple[int, bool, str]]) -> None:
    """Senders may be as late as the overlap; pods load whenever they like."""
    senders = Senders(DAILY)
    senders.reconcile()
    held = [(senders.now, senders.ring.current)]
    for hours, load, asked in course:
        senders.asked = asked
        ring = senders.reconcile(after=hours * HOUR, load=load)
        assert senders.is_accepted(ring.current)
        assert sum(key.retires_at is None and key.current_since is not None for key in ring.keys) == 1
        assert len({key.secret for key in ring.keys}) == len(ring.keys)
        if ring.current != held[-1][1]:
            held.append((senders.now, ring.current))
        for (_, key), (replaced_at, _) in itertools.pairwise(held):
            if senders.now < replaced_at + DAILY.overlap:
                assert key.secret in {each.secret for each in ring.keys}
