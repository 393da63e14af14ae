"""A WebhookEndpoint: what it is in the file of sources, and what its status says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from realmate.kube_operator import spec
from realmate.kube_operator import status as statuses
from realmate.kube_operator.desired import Actual, DesiredState, Installation, Pod, Published, desired
from realmate.kube_operator.entry_schema import kubernetes_name, spec_properties
from realmate.kube_operator.kinds import Object
from realmate.kube_operator.pods import paused
from realmate.sources.endpoint_file import EndpointFile
from realmate.sources.endpoint_schema import EndpointSettings
from realmate.sources.file import SourceFile
from signatures import OTHER_SECRET, SECRET

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Installation("here", "realmate", "secret", "", "http://webhook:8000", None, {})
URL = "https://crm.example/realmate"
REFERRING: dict[str, Any] = {"url": URL, "signing": {"secretRefs": [{"name": "keys", "key": "crm"}]}}
GENERATED: dict[str, Any] = {"url": URL, "signing": {"generate": True, "rotation": {"every": "48h", "overlap": "1h"}}}


def published_object(kind: str, name: str, **wanted: Any) -> Object:
    metadata = {"name": name, "namespace": "here", "uid": name, "generation": 3}
    return {"kind": kind, "metadata": metadata, "spec": wanted}


def endpoint(name: str = "crm", **wanted: Any) -> Object:
    return published_object("WebhookEndpoint", name, **wanted)


def source(name: str = "shop", **wanted: Any) -> Object:
    return published_object("WebhookSource", name, **wanted)


def actual(*objects: Object, **known: Any) -> Actual:
    there: dict[str, Any] = {
        "secrets": {"keys": {"crm": SECRET + "\n"}},
        "keyrings": {},
        "open_default": None,
        "published": Published(salt="salt"),
        "pods": [],
    }
    return Actual(now=NOW, objects=objects, **there | known)


def after(plan: DesiredState, *objects: Object, **known: Any) -> DesiredState:
    """What is wanted when a plan was made true."""
    return desired(actual(*objects, **{"published": plan.published, "keyrings": plan.keyrings} | known))


def document(plan: DesiredState) -> Any:
    return json.loads(plan.published.document)


def deliveries(revision: str | None, **told: bool) -> Pod:
    return Pod("1", "deliveries-1", "deliveries", answered=True, revision=revision, paused=told)


def webhook(revision: str | None) -> Pod:
    return Pod("2", "webhook-1", "webhook", answered=True, revision=revision)


def test_every_setting_is_one_that_deliveries_read(tmp_path: Path) -> None:
    whole = endpoint(
        **REFERRING,
        events=["reply.created"],
        sources=["shop"],
        schedule=[5, 60.5],
        timeoutSeconds=7,
        concurrency=3,
        rate=2.5,
        pauseAfterHours=48,
        allowPrivate=True,
    )
    assert set(whole["spec"]) - {"signing"} == set(spec_properties(EndpointSettings))
    plan = desired(actual(whole))
    assert plan.problems == {}
    path = tmp_path / "sources.json"
    path.write_bytes(plan.published.document)
    file = EndpointFile(path, {})
    crm = file.content["crm"]
    assert file.revision == SourceFile(path, {}).revision == plan.published.revision
    assert (crm.url, crm.events, crm.sources) == (URL, frozenset({"reply.created"}), frozenset({"shop"}))
    assert (crm.schedule_s, crm.timeout_s, crm.concurrency) == ((5, 60.5), 7, 3)
    assert (crm.pause_after_s, crm.allow_private) == (48 * 3600, True)
    assert crm.rate is not None
    assert crm.rate.events_per_s == 2.5


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("timeout_s", "timeoutSeconds"), ("events_per_s", "eventsPerSecond"), ("pause_after_h", "pauseAfterHours")],
)
def test_settings_are_spelled_with_their_units_as_words(name: str, spelled: str) -> None:
    assert kubernetes_name(name) == spelled


def test_a_source_and_an_endpoint_may_have_the_same_name() -> None:
    signed = {"signing": {"scheme": "standard-webhooks", "generate": True}}
    plan = desired(actual(source("shop", **signed), endpoint("shop", **GENERATED)))
    assert plan.keyrings.keys() == plan.revisions.keys() == {"shop", "endpoints/shop"}
    told = document(plan)
    assert told["sources"]["shop"]["signing"]["secrets"] != told["endpoints"]["shop"]["secrets"]
    assert after(plan, source("shop", **signed), endpoint("shop", **GENERATED)) == plan


def test_a_file_without_endpoints_is_one_that_services_of_before_know() -> None:
    assert document(desired(actual(source()))).keys() == {"revision", "sources"}


def test_an_endpoint_closes_no_source() -> None:
    plan = desired(actual(endpoint(**REFERRING)))
    assert document(plan)["sources"] == {}
    assert document(after(plan, endpoint(**REFERRING)))["sources"] == {}


@pytest.mark.parametrize(
    ("wanted", "secrets", "reason", "message"),
    [
        (REFERRING, {}, "SecretMissing", "there is no Secret keys"),
        (REFERRING, {"keys": {"crm": "whsec_AAAA"}}, "Invalid", "endpoints.crm.secrets[0]"),
        (REFERRING | {"events": ["none.such"]}, None, "Invalid", "'none.such' is no event"),
        (REFERRING | {"url": "http://crm.example/"}, None, "Invalid", "endpoints.crm"),
        (GENERATED | {"signing": {"generate": True, "rotation": {"every": "1d"}}}, None, "Invalid", "is no duration"),
    ],
)
def test_one_that_breaks_stays_as_it_was_and_a_new_one_is_not_there(
    wanted: dict[str, Any], secrets: spec.Secrets | None, reason: str, message: str
) -> None:
    known = {} if secrets is None else {"secrets": secrets}
    new = desired(actual(endpoint(**wanted), **known))
    assert "endpoints" not in document(new)
    right = desired(actual(endpoint(**REFERRING)))
    broken = after(right, endpoint(**wanted), **known)
    assert document(broken)["endpoints"] == document(right)["endpoints"]
    for plan in (new, broken):
        problem = plan.problems["endpoints/crm"]
        assert problem.reason == reason
        assert message in problem.message


def test_one_that_is_deleted_goes_and_the_others_stay() -> None:
    gone = endpoint(**REFERRING)
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    plan = desired(actual(gone, endpoint("erp", **REFERRING)))
    assert set(document(plan)["endpoints"]) == {"erp"}


def test_a_new_key_signs_everywhere_before_the_receiver_gets_it() -> None:
    wanted = endpoint(**GENERATED)
    first = desired(actual(wanted))
    wanted["metadata"]["annotations"] = {spec.ROTATE: "now"}
    made = after(first, wanted)
    assert len(document(made)["endpoints"]["crm"]["secrets"]) == 2
    other_s_pod = webhook(made.published.revision)
    waiting = after(made, wanted, pods=[other_s_pod, deliveries(first.published.revision)])
    assert waiting.keyrings["endpoints/crm"].current == first.keyrings["endpoints/crm"].current
    loaded = after(made, wanted, pods=[other_s_pod, deliveries(made.published.revision)])
    ring = loaded.keyrings["endpoints/crm"]
    assert ring.current.id == made.keyrings["endpoints/crm"].keys[0].id
    assert ring.keys[1].retires_at == NOW + timedelta(hours=1)


def status(about: Object, plan: DesiredState, *pods: Pod) -> Object:
    return statuses.status(about, plan, installation=HERE, pods=pods, failure=None, now=NOW)


def conditions(said: Object) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in said["conditions"]}


def test_it_is_ready_when_every_pod_of_deliveries_runs_by_it_whatever_the_others_do() -> None:
    wanted = endpoint(**GENERATED)
    plan = desired(actual(wanted))
    said = status(wanted, plan, deliveries(plan.published.revision, crm=False), webhook("old"))
    assert conditions(said) == {
        "SecretsReady": ("True", "Generated"),
        "Published": ("True", "Published"),
        "Loaded": ("True", "Loaded"),
        "Delivering": ("True", "Delivering"),
        "Ready": ("True", "Ready"),
    }
    assert said["secretName"] == "webhookendpoint-crm"
    assert said["nextRotation"] == "2026-01-03T00:00:00Z"
    assert said["loadedRevision"] == said["revision"]
    assert not said.keys() & {"url", "traffic"}


def test_it_is_not_where_no_deliveries_run() -> None:
    wanted = endpoint(**REFERRING)
    plan = desired(actual(wanted))
    assert conditions(status(wanted, plan, webhook(plan.published.revision)))["Ready"] == ("False", "NoPods")


def test_it_is_not_while_it_is_paused_in_any_pod() -> None:
    wanted = endpoint(**REFERRING)
    plan = desired(actual(wanted))
    revision = plan.published.revision
    said = status(wanted, plan, deliveries(revision, crm=False), deliveries(revision, crm=True, erp=False))
    assert conditions(said)["Delivering"] == conditions(said)["Ready"] == ("False", "Paused")


def test_what_no_pod_tells_keeps_it_from_nothing() -> None:
    """With `readers`, metrics need a token that the operator may not have."""
    wanted = endpoint(**REFERRING)
    plan = desired(actual(wanted))
    said = conditions(status(wanted, plan, deliveries(plan.published.revision, erp=True)))
    assert (said["Delivering"], said["Ready"]) == (("Unknown", "NotTold"), ("True", "Ready"))


def test_one_that_never_was_right_has_no_revision_and_says_why() -> None:
    wanted = endpoint(**REFERRING)
    plan = desired(actual(wanted, secrets={}))
    said = status(wanted, plan, deliveries(plan.published.revision))
    assert conditions(said)["Ready"] == ("False", "SecretMissing")
    assert conditions(said)["Loaded"][0] == "False"
    assert not said.keys() & {"revision", "loadedRevision"}


def test_a_secret_that_changes_is_another_revision() -> None:
    plan = desired(actual(endpoint(**REFERRING)))
    other = desired(actual(endpoint(**REFERRING), secrets={"keys": {"crm": OTHER_SECRET}}))
    assert plan.revisions["endpoints/crm"] != other.revisions["endpoints/crm"]


def test_whether_it_is_paused_is_read_from_the_metrics() -> None:
    text = (
        "# HELP realmate_endpoint_paused …\n# TYPE realmate_endpoint_paused gauge\n"
        'realmate_endpoint_paused{endpoint="crm"} 1.0\nrealmate_endpoint_paused{endpoint="erp"} 0.0\n'
        'realmate_endpoint_failing_seconds{endpoint="crm"} 9.0\n'
    )
    assert paused(text) == {"crm": True, "erp": False}
    assert paused("") == {}
