"""What a platform team changes of the chart's objects without a fork of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from prometheus import alert_rules
from rendered import CHART, RELEASE, WHOLE, Object, found, merged, pods, render

OURS = ("webhook", "conversations", "query", "console", "deliveries")
COMPONENTS = (*OURS, "migration", "admin", "postgres", "redis", "rabbitmq")
OF_OURS = (*OURS, "operator", "migration", "admin")
AMQP: dict[str, Any] = {"transport": {"kind": "amqp"}}


def pods_of(objects: list[Object], component: str) -> list[Object]:
    """The specifications of the pods of a component."""
    title = {"migration": "migrate"}.get(component, component)
    return [pod for name, pod in pods(objects).items() if name.split("-")[1] == title]


def contexts(pod: Object) -> tuple[Object, Object]:
    return pod["securityContext"], pod["containers"][0]["securityContext"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_runs_as_an_account_of_its_own_without_rights(component: str) -> None:
    mine = {"serviceAccount": {"annotations": {"iam": 7}}}
    whole = merged(AMQP, WHOLE)
    objects = render(merged(whole, {component: mine}))
    account = found(objects, "ServiceAccount", component)
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"] == {"iam": "7"}
    assert {pod["serviceAccountName"] for pod in pods_of(objects, component)} == {f"{RELEASE}-{component}"}
    bound = [each["subjects"] for each in objects if each["kind"] == "RoleBinding"]
    assert all(subject["name"] == f"{RELEASE}-operator" for subjects in bound for subject in subjects)
    for given, name in (({"name": "mine"}, "mine"), ({"create": False}, "default")):
        named = render(merged(whole, {component: {"serviceAccount": given}}))
        assert {pod["serviceAccountName"] for pod in pods_of(named, component)} == {name}


def test_a_migration_that_runs_before_the_rest_has_its_account_by_then() -> None:
    objects = render({"postgres": {"external": {"existingSecret": "db"}}, "migration": {"mode": "hook"}})
    [account, job] = [
        next(each for each in objects if each["kind"] == kind and "migrat" in each["metadata"]["name"])
        for kind in ("ServiceAccount", "Job")
    ]
    hooks = [each["metadata"]["annotations"]["helm.sh/hook"] for each in (account, job)]
    assert hooks == ["pre-install,pre-upgrade"] * 2
    assert int(account["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0


def test_security_contexts_can_be_overridden_for_all_and_for_one() -> None:
    """As OpenShift wants it: no user ids of ours."""
    anyone = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    values = AMQP | {
        "podSecurityContext": anyone,
        "securityContext": {"readOnlyRootFilesystem": False},
        "query": {"podSecurityContext": {"runAsUser": 7}, "securityContext": {"readOnlyRootFilesystem": True}},
    }
    for name, pod in pods(render(values)).items():
        whole, container = contexts(pod)
        is_query = name == f"Deployment {RELEASE}-query"
        uid = {"runAsUser": 7} if is_query else {}
        assert whole == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | uid, name
        assert container["readOnlyRootFilesystem"] is is_query, name
        assert container["capabilities"] == {"drop": ["ALL"]}, name


@pytest.mark.parametrize("component", OF_OURS)
def test_volumes_can_be_mounted_into_each_of_our_pods(component: str) -> None:
    volume = {"name": "ca", "configMap": {"name": "database-ca"}}
    mount = {"name": "ca", "mountPath": "/etc/database-ca", "readOnly": True}
    objects = render(merged(WHOLE, {component: {"extraVolumes": [volume], "extraVolumeMounts": [mount]}}))
    pod = pods_of(objects, component)[0]
    assert volume in pod["volumes"]
    assert mount in pod["containers"][0]["volumeMounts"]
    assert sum(volume in each.get("volumes", []) for each in pods(objects).values()) == 1


def test_jobs_end_and_go_as_they_are_told() -> None:
    [plain] = [each["spec"] for each in render() if each["kind"] == "Job" and "migrate" in each["metadata"]["name"]]
    assert not plain.keys() & {"activeDeadlineSeconds", "ttlSecondsAfterFinished"}
    objects = render(
        {
            "migration": {"activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 0},
            "admin": {"activeDeadlineSeconds": 600},
        }
    )
    [told] = [each["spec"] for each in objects if each["kind"] == "Job" and "migrate" in each["metadata"]["name"]]
    assert (told["activeDeadlineSeconds"], told["ttlSecondsAfterFinished"]) == (3600, 0)
    assert found(objects, "PodTemplate", "admin")["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert found(objects, "Pod", "test")["spec"]["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("name", ["webhook", "query", "console"])
def test_a_service_can_be_a_load_balancer_s(name: str) -> None:
    plain = found(render(WHOLE), "Service", name)
    assert plain["spec"]["type"] == "ClusterIP"
    assert "externalTrafficPolicy" not in plain["spec"]
    assert "annotations" not in plain["metadata"]
    service = {"type": "LoadBalancer", "annotations": {"internal": True}, "externalTrafficPolicy": "Local"}
    told = found(render(merged(WHOLE, {name: {"service": service}})), "Service", name)
    assert (told["spec"]["type"], told["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert told["metadata"]["annotations"] == {"internal": "true"}


def test_images_can_come_from_a_mirror_and_by_digest() -> None:
    digest = "sha256:" + "0" * 64
    values = AMQP | {
        "imageRegistry": "registry.example.com/mirror",
        "image": {"digest": digest},
        "postgres": {"image": f"postgres:17@{digest}"},
    }
    images = {pod["containers"][0]["image"] for pod in pods(render(values)).values()}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert {f"realmate:{version}@{digest}", f"postgres:17@{digest}"} < {
        each.removeprefix("registry.example.com/mirror/") for each in images
    }
    assert all(each.startswith("registry.example.com/mirror/") for each in images)


def test_alerts_link_to_their_runbooks_and_can_be_left_out() -> None:
    def alerts(**told: Any) -> dict[str, dict[str, str]]:
        return {each["alert"]: each["annotations"] for each in alert_rules(**told)["groups"][0]["rules"]}

    assert all("runbook_url" not in each for each in alerts().values())
    linked = alerts(runbookUrl="https://wiki.example.com/runbooks/", disabled={"RealmateOperatorStuck": True})
    assert linked.keys() == alerts().keys() - {"RealmateOperatorStuck"}
    assert {each["runbook_url"] for each in linked.values()} == {
        f"https://wiki.example.com/runbooks/{name}.md" for name, told in linked.items() if "renamed" not in told
    }


def test_what_the_artifact_hub_is_told_is_what_is_deployed() -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    images = {each["image"] for each in yaml.safe_load(told["artifacthub.io/images"])}
    assert images == {pod["containers"][0]["image"] for values in ({}, AMQP) for pod in pods(render(values)).values()}
    changes = yaml.safe_load(told["artifacthub.io/changes"])
    assert {each["kind"] for each in changes} <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert all(each["description"] for each in changes)
