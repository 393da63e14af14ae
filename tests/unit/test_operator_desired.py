"""What the operator wants, from all that there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from realmate.kube_operator import spec
from realmate.kube_operator.desired import (
    Actual,
    DesiredState,
    Pod,
    Published,
    desired,
    generation_of,
    has_loaded,
)
from realmate.kube_operator.entries import CLOSED
from realmate.kube_operator.keyring import Keyring
from realmate.kube_operator.kinds import Object
from realmate.sources.file import SourceFile
from signatures import OTHER_SECRET, SECRET

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNED: dict[str, Any] = {"signing": {"scheme": "standard-webhooks", "secretRefs": [{"name": "keys", "key": "shop"}]}}
GENERATED: dict[str, Any] = {
    "signing": {"scheme": "standard-webhooks", "generate": True, "rotation": {"overlap": "1h"}}
}


def source(name: str = "shop", **wanted: Any) -> Object:
    metadata = {"name": name, "namespace": "here", "uid": name, "generation": 1}
    return {"kind": "WebhookSource", "metadata": metadata, "spec": wanted}


def actual(*objects: Object, **known: Any) -> Actual:
    there: dict[str, Any] = {
        "secrets": {"keys": {"shop": SECRET + "\n"}},
        "keyrings": {},
        "open_default": None,
        "published": Published(salt="salt"),
        "pods": [],
    }
    return Actual(now=NOW, objects=objects, **there | known)


def entries(plan: DesiredState) -> Any:
    return json.loads(plan.published.document)["sources"]


def after(plan: DesiredState, *objects: Object, pods: Sequence[Pod] = (), **known: Any) -> DesiredState:
    """What is wanted when a plan was made true."""
    return desired(actual(*objects, published=plan.published, keyrings=plan.keyrings, pods=pods, **known))


def pod(revision: str | None) -> Pod:
    return Pod("1", "webhook-1", "webhook", answered=True, revision=revision)


def is_loaded(plan: DesiredState, name: str, *revisions: str | None) -> bool:
    return has_loaded([pod(revision) for revision in revisions], plan.published, name)


def test_every_setting_is_one_that_services_read(tmp_path: Path) -> None:
    """The whole of a spec goes through the services' own reading."""
    whole = source(
        maxBodyBytes=1000,
        signing=SIGNED["signing"] | {"toleranceSeconds": 60},
        limit={"eventsPerSecond": 5, "burst": 10},
        grouping={"windowSeconds": 2, "maxWaitSeconds": 10, "maxMessages": 3},
        hold={"toleranceSeconds": 4},
        reply={
            "kind": "http",
            "url": "https://replies.example/",
            "secretRefs": [{"name": "keys", "key": "shop"}],
            "timeoutSeconds": 1,
            "retryForSeconds": 2,
            "concurrency": 3,
            "fallback": "…",
            "allowPrivate": True,
        },
        rejections={"maxCount": 5, "maxAgeDays": 6},
        retention={"closedDays": 7},
        deletionPolicy="Erase",
        paused=True,
    )
    plan = desired(actual(whole))
    assert plan.problems == {}
    path = tmp_path / "sources.json"
    path.write_bytes(plan.published.document)
    file = SourceFile(path, {})
    shop = file.content["shop"]
    assert file.revision == plan.published.revision
    assert (shop.max_body_bytes, shop.paused, shop.retention_s) == (1000, True, 7 * 86400)
    assert shop.limit is not None
    assert (shop.limit.events_per_s, shop.limit.burst) == (5, 10)
    assert shop.own_rules["group_max_wait"] == timedelta(seconds=10)
    assert shop.responder is not None
    assert (shop.responder.timeout_s, shop.responder.retry_for_s, shop.responder.concurrency) == (1, 2, 3)


@pytest.mark.parametrize("overlap", ["99999999999999999999h", "87601h"])
def test_a_rotation_that_no_calendar_holds_stops_its_own_source_alone(overlap: str) -> None:
    odd = source("odd", signing=GENERATED["signing"] | {"rotation": {"overlap": overlap}})
    plan = desired(actual(odd, source(**SIGNED)))
    assert plan.problems["odd"].reason == "Invalid"
    assert "longer than ten years" in plan.problems["odd"].message
    assert set(entries(plan)["shop"]) == {"signing"}


def test_the_default_source_is_open_only_where_that_is_wanted() -> None:
    assert entries(desired(actual(open_default=True))) == {"default": {}}
    assert entries(desired(actual(open_default=False))) == {"default": CLOSED}
    assert entries(desired(actual(source("default"), open_default=False))) == {"default": {}}


def test_the_default_source_is_open_until_the_first_source_and_not_again_when_the_last_is_gone() -> None:
    assert entries(desired(actual())) == {}
    with_one = desired(actual(source(paused=True)))
    assert set(entries(with_one)) == {"shop"}
    without = desired(actual(published=with_one.published))
    assert entries(without) == {"default": CLOSED}
    assert entries(desired(actual(published=without.published))) == {"default": CLOSED}
    assert set(entries(desired(actual(source(), open_default=True)))) == {"default", "shop"}


def test_a_revision_is_that_of_its_content_and_tells_nothing_of_it() -> None:
    plan = desired(actual(source(**SIGNED)))
    assert plan == desired(actual(source(**SIGNED)))
    other = desired(actual(source(**SIGNED), secrets={"keys": {"shop": OTHER_SECRET}}))
    salted = desired(actual(source(**SIGNED), published=Published(salt="other")))
    assert len({each.published.revision for each in (plan, other, salted)}) == 3
    assert plan.revisions != other.revisions


@pytest.mark.parametrize(
    ("secrets", "reason", "message"),
    [
        ({}, "SecretMissing", "there is no Secret keys"),
        ({"keys": {"other": SECRET}}, "SecretMissing", "Secret keys has no key shop"),
        ({"keys": {"shop": "whsec_AAAA"}}, "Invalid", "at least 16 bytes"),
    ],
)
def test_a_source_that_breaks_stays_as_it_was(secrets: spec.Secrets, reason: str, message: str) -> None:
    plan = desired(actual(source(**SIGNED)))
    broken = after(plan, source(**SIGNED, maxBodyBytes=1), secrets=secrets)
    assert broken.published == plan.published
    assert broken.problems["shop"].reason == reason
    assert message in broken.problems["shop"].message
    assert broken.problems["shop"].is_about_secrets
    assert SECRET not in str(broken.problems)


def test_one_that_breaks_is_no_matter_of_the_others() -> None:
    plan = desired(
        actual(source(**SIGNED), source("other", signing=SIGNED["signing"] | {"secretRefs": [{"name": "no"}]}))
    )
    assert set(plan.problems) == {"other"}
    assert entries(plan)["shop"]["signing"]["secrets"] == [{"value": SECRET}]


def test_one_that_never_was_right_is_closed_the_default_one_too() -> None:
    for name in ("shop", "default"):
        plan = desired(actual(source(name, **SIGNED), secrets={}))
        assert entries(plan) == {name: CLOSED}


def test_a_broken_one_can_still_be_paused() -> None:
    plan = after(desired(actual(source(**SIGNED))), source(**SIGNED, paused=True), secrets={})
    assert entries(plan)["shop"]["paused"] is True
    assert entries(plan)["shop"]["signing"]["secrets"] == [{"value": SECRET}]


def test_what_only_the_services_check_is_found() -> None:
    plan = desired(actual(source(reply={"kind": "none", "url": "https://x"})))
    assert "sources.shop.reply" in plan.problems["shop"].message
    assert not plan.problems["shop"].is_about_secrets


def test_a_deleted_one_is_closed_while_it_is_still_there() -> None:
    gone = source(**SIGNED)
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert entries(desired(actual(gone))) == {"shop": CLOSED}


def test_generated_keys_are_made_once_and_published() -> None:
    plan = desired(actual(source(**GENERATED)))
    ring = plan.keyrings["shop"]
    assert entries(plan)["shop"]["signing"]["secrets"] == [{"value": ring.current.secret}]
    assert after(plan, source(**GENERATED)) == plan


def test_a_rotation_waits_for_the_pods() -> None:
    wanted = source(**GENERATED)
    first = desired(actual(wanted))
    wanted["metadata"]["annotations"] = {spec.ROTATE: "now"}
    made = after(first, wanted)
    assert len(made.keyrings["shop"].keys) == len(entries(made)["shop"]["signing"]["secrets"]) == 2
    stale = after(made, wanted, pods=[pod(made.published.revision), pod(first.published.revision)])
    assert stale.keyrings["shop"].current == first.keyrings["shop"].current
    loaded = after(made, wanted, pods=[pod(made.published.revision)])
    assert loaded.keyrings["shop"].current.id == made.keyrings["shop"].keys[0].id


def test_a_hand_s_edit_of_what_is_published_is_undone() -> None:
    plan = desired(actual(source(**SIGNED)))
    for document in (b"", b"{", b"[]", b'{"sources": 3}', plan.published.document.replace(b"shop", b"pohs")):
        edited = plan._replace(published=Published(document, "salt"))
        assert entries(after(edited, source(**SIGNED))) == entries(plan)


def test_a_source_is_loaded_though_another_one_changes_all_the_time() -> None:
    plan = desired(actual(source(**SIGNED), source("busy")))
    loaded = plan.published.revision
    assert is_loaded(plan, "shop", loaded)
    for size in range(1, 20):
        plan = after(plan, source(**SIGNED), source("busy", maxBodyBytes=size), pods=[pod(loaded)])
        assert is_loaded(plan, "shop", loaded)
        assert not is_loaded(plan, "busy", loaded)
    assert is_loaded(plan, "busy", plan.published.revision)
    changed = after(plan, source(**SIGNED, maxBodyBytes=1), source("busy", maxBodyBytes=19))
    assert not is_loaded(changed, "shop", plan.published.revision)
    assert is_loaded(changed, "busy", plan.published.revision)


def test_a_pod_that_does_not_say_by_what_it_runs_has_loaded_nothing() -> None:
    plan = desired(actual(source(**SIGNED)))
    for revision in (None, "", "x", "99", "0-abc", "²-abc", "by-hand"):
        assert not is_loaded(plan, "shop", plan.published.revision, revision)
    assert not is_loaded(plan, "other", plan.published.revision)


def test_generations_only_grow_whatever_was_lost() -> None:
    """A Secret that was deleted, or brought back from a backup, must not make pods with a later file look loaded."""
    plan = desired(actual(source(**SIGNED)))
    for size in range(1, 5):
        plan = after(plan, source(**SIGNED, maxBodyBytes=size))
    ahead = plan.published.revision
    assert generation_of(ahead) == 5
    for lost in (Published(salt="salt"), desired(actual(source(**SIGNED))).published):
        anew = after(plan._replace(published=lost), source(**SIGNED), pods=[pod(ahead)])
        assert generation_of(anew.published.revision) == 6
        assert not is_loaded(anew, "shop", ahead)


def test_a_lost_key_is_made_anew() -> None:
    plan = desired(actual(source(**GENERATED)))
    lost = after(plan._replace(keyrings={}), source(**GENERATED))
    assert lost.keyrings["shop"] != plan.keyrings["shop"]
    assert isinstance(lost.keyrings["shop"], Keyring)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("0.5h", 1800), ("720h", 2_592_000)])
def test_durations_are_read_as_kubernetes_has_them(text: str, seconds: float) -> None:
    assert spec.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "3", "3d", "h", "1h 3m", "-1h"])
def test_what_is_no_duration_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        spec.duration(text)
