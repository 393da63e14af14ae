"""What a WebhookSource's status says, and the Events of it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from realmate.kube_operator import status as statuses
from realmate.kube_operator.desired import Actual, Installation, Pod, Published, desired
from realmate.kube_operator.kinds import Object
from realmate.kube_operator.pods import counted
from realmate.kube_operator.watch_lag import WatchLag

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Installation("here", "realmate", "secret", "https://realmate.example/", "http://webhook:8000", True, {})  # noqa: FBT003
MINUTE = timedelta(minutes=1)


def source(before: Object | None = None, **wanted: Any) -> Object:
    metadata = {"name": "shop", "namespace": "here", "uid": "1", "generation": 3}
    return {"kind": "WebhookSource", "metadata": metadata, "spec": wanted, **({"status": before} if before else {})}


def status(
    about: Object, *, pods: list[Pod] | None = None, failure: str | None = None, after: timedelta = timedelta(0)
) -> Object:
    """`pods` None: one that runs by what is wanted."""
    plan = desired(Actual(NOW, [about], {}, {}, open_default=True, published=Published(salt="s"), pods=[]))
    running = [pod("a", plan.published.revision)] if pods is None else pods
    return statuses.status(about, plan, installation=HERE, pods=running, failure=failure, now=NOW + after)


def pod(uid: str, revision: str | None = None, *, accepted: int | None = None, rejected: int = 0) -> Pod:
    events = None if accepted is None else {("shop", "accepted"): accepted, ("shop", "rejected"): rejected}
    return Pod(uid, f"webhook-{uid}", "webhook", answered=True, revision=revision, events=events)


def conditions(said: Object) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in said["conditions"]}


def test_it_is_ready_when_every_pod_runs_by_it() -> None:
    said = status(source())
    assert conditions(said) == {
        "SecretsReady": ("True", "Unsigned"),
        "Published": ("True", "Published"),
        "Loaded": ("True", "Loaded"),
        "Ready": ("True", "Ready"),
    }
    assert said["observedGeneration"] == 3
    assert said["url"] == "https://realmate.example/webhook/shop/"


def test_it_is_not_while_one_does_not() -> None:
    said = status(source(), pods=[pod("a", "old"), pod("b")])
    assert conditions(said)["Ready"] == ("False", "Waiting")
    assert "2 of 2 pods do not run by it yet: webhook-a, webhook-b" in str(said)
    assert conditions(status(source(), pods=[]))["Ready"] == ("False", "NoPods")


def test_another_s_change_does_not_unready_it() -> None:
    ready = status(source())
    assert conditions(status(source(ready), pods=[pod("a", "another")]))["Ready"] == ("True", "Ready")
    changed = source(ready, maxBodyBytes=10)
    assert conditions(status(changed, pods=[pod("a", "another")]))["Ready"] == ("False", "Waiting")


def test_what_fails_is_said_where_it_fails() -> None:
    assert conditions(status(source(), failure="forbidden"))["Ready"] == ("False", "PublishFailed")
    missing = source(signing={"scheme": "standard-webhooks", "secretRefs": [{"name": "no"}]})
    said = conditions(status(missing))
    assert said["SecretsReady"] == said["Published"] == said["Ready"] == ("False", "SecretMissing")
    assert conditions(status(source(paused=True)))["Ready"] == ("False", "Paused")


def test_a_transition_is_one_of_the_status_not_of_its_reason() -> None:
    waiting = status(source(), pods=[pod("a")])
    absent = status(source(waiting), pods=[], after=MINUTE)
    ready = status(source(absent), after=2 * MINUTE)
    times = [
        {each["type"]: each["lastTransitionTime"] for each in said["conditions"]} for said in (waiting, absent, ready)
    ]
    assert [each["Loaded"] for each in times] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:02:00Z",
    ]


def test_what_pods_count_is_added_up() -> None:
    first = statuses.traffic({}, "shop", [pod("a", accepted=5, rejected=1)], NOW)
    assert (first["accepted"], first["rejected"], first["lastEventAt"]) == (5, 1, "2026-01-01T00:00:00Z")
    assert statuses.traffic(first, "shop", [pod("a", accepted=9)], NOW + MINUTE / 2) == first  # not yet
    more = statuses.traffic(first, "shop", [pod("a", accepted=9, rejected=1), pod("b", accepted=2)], NOW + MINUTE)
    assert (more["accepted"], more["rejected"]) == (11, 1)
    again = statuses.traffic(more, "shop", [pod("a", accepted=3), pod("b", accepted=2)], NOW + 2 * MINUTE)
    assert (again["accepted"], again["rejected"]) == (14, 1)  # a began anew
    silent = statuses.traffic(again, "shop", [pod("a"), pod("b", accepted=2)], NOW + 3 * MINUTE)
    assert (silent["accepted"], silent["lastEventAt"]) == (14, again["lastEventAt"])
    assert statuses.traffic(silent, "shop", [pod("a", accepted=4)], NOW + 4 * MINUTE)["accepted"] == 15


def test_a_pod_s_counts_are_read_from_its_metrics() -> None:
    text = (
        "# HELP realmate_webhook_events_total …\n# TYPE realmate_webhook_events_total counter\n"
        'realmate_webhook_events_total{outcome="accepted",source="shop"} 12.0\nrealmate_replies_total 3.0\n'
    )
    assert counted(text) == {("shop", "accepted"): 12}
    assert counted("") == {}


def test_events_tell_what_changed_and_nothing_twice() -> None:
    ready = status(source())
    assert [each.reason for each in statuses.events_of({}, ready)] == ["Ready"]
    assert [*statuses.events_of(ready, status(source(ready)))] == []
    failed = status(source(ready), failure="forbidden")
    [told] = statuses.events_of(ready, failed)
    assert (told.type, told.reason, told.message) == ("Warning", "PublishFailed", "forbidden")


def test_events_tell_the_course_of_a_rotation() -> None:
    made = {"id": "2", "madeAt": "…"}
    current = made | {"currentSince": "…"}
    old = {"id": "1", "madeAt": "…", "currentSince": "…"}
    course = [[old], [made, old], [current, old], [current]]
    said = [{"conditions": [], "keys": keys, "secretName": "s"} for keys in course]
    reasons = [
        [each.reason for each in statuses.events_of(before, after)] for before, after in itertools.pairwise(said)
    ]
    assert reasons == [["KeyMade"], ["Rotated"], ["KeyRetired"]]


def test_a_watch_that_misses_a_change_is_found_out() -> None:
    now = 0.0
    watch = WatchLag(lambda: now)
    one = {"metadata": {"uid": "1", "resourceVersion": "5"}}
    watch.brought(one, is_gone=False)
    watch.listed([one])
    now = 100.0
    assert watch.lag_s == 0
    changed = {"metadata": {"uid": "1", "resourceVersion": "6"}}
    watch.listed([changed])
    now = 130.0
    watch.listed([{"metadata": {"uid": "1", "resourceVersion": "7"}}])
    assert watch.lag_s == 30
    watch.brought(changed, is_gone=False)
    assert watch.lag_s == 0
    watch.brought(changed, is_gone=True)
    watch.listed([])
    now = 500.0
    assert watch.lag_s == 0
