"""The operator's turns against kmock, an API server that errs when it is told to. A real one is tests/e2e's matter."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
import pytest_asyncio
from kmock import Response  # type: ignore[attr-defined]
from kubernetes_asyncio import client

from realmate.kube_operator.cluster import Cluster, ClusterError
from realmate.kube_operator.desired import Pod
from realmate.kube_operator.handlers import Operator
from realmate.kube_operator.kinds import SECRET, WEBHOOK_ENDPOINT, WEBHOOK_SOURCE, Object, Progress
from realmate.kube_operator.pods import PodClient
from realmate.kube_operator.reconcile import FINALIZER, Reconciler
from realmate.kube_operator.release import release
from realmate.kube_operator.settings import OperatorSettings
from realmate.local.ports import free_port

API = "realmate.dev/v1alpha1"
SOURCES, SECRETS, TEMPLATES = f"{API}/webhooksources", "v1/secrets", "v1/podtemplates"
ENDPOINTS = f"{API}/webhookendpoints"
KINDS = (SOURCES, ENDPOINTS, f"{API}/eventreplays", SECRETS, TEMPLATES, "v1/pods", "v1/events", "batch/v1/jobs")
GENERATED: dict[str, Any] = {"signing": {"scheme": "standard-webhooks", "generate": True}}

pytestmark = pytest.mark.asyncio


class Pods(PodClient):
    """Each of them runs by what this says."""

    revision: str | None = None
    deliveries_revision: str | None = None
    paused: Mapping[str, bool] = {}

    async def ask_all(self, _: Sequence[Object]) -> list[Pod]:
        revision = self.deliveries_revision
        return [
            Pod("1", "webhook-1", "webhook", answered=True, revision=self.revision),
            Pod("2", "deliveries-1", "deliveries", answered=True, revision=revision, paused=self.paused),
        ]


class World:
    """A namespace with an installation, and the operator's view of it."""

    def __init__(self, server: Any, cluster: Cluster) -> None:
        self.server, self.cluster, self.pods = server, cluster, Pods()
        for kind in KINDS:
            server.resources[kind] = {"kind": kind.rpartition("/")[2], "namespaced": True, "verbs": ["list", "watch"]}
        self.install("here")

    def install(self, namespace: str) -> None:
        template = {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "admin"}]}}
        annotations = {"realmate.dev/secret": "published", "realmate.dev/webhook-url": "http://webhook:8000"}
        labels = {"app.kubernetes.io/instance": "realmate"}
        metadata = {"name": "realmate-admin", "namespace": namespace, "labels": labels, "annotations": annotations}
        self.put(TEMPLATES, {"metadata": metadata, "template": template})
        self.put(SECRETS, {"metadata": {"name": "published", "namespace": namespace}})

    def put(self, kind: str, body: Object) -> None:
        metadata = body["metadata"]
        metadata |= {"uid": f"{metadata['namespace']}-{metadata['name']}", "generation": 1, "resourceVersion": "1"}
        self.server.objects[kind, metadata["namespace"], metadata["name"]] = body

    def make(self, name: str, namespace: str = "here", **spec: Any) -> None:
        self.put(SOURCES, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
        self.put(SECRETS, {"metadata": {"name": f"webhooksource-{name}", "namespace": namespace}})

    def make_endpoint(self, name: str, **spec: Any) -> None:
        self.put(ENDPOINTS, {"metadata": {"name": name, "namespace": "here"}, "spec": spec})
        self.put(SECRETS, {"metadata": {"name": f"webhookendpoint-{name}", "namespace": "here"}})

    async def reconcile(self, namespace: str = "here") -> bool:
        reconciler = Reconciler(self.cluster, self.pods)
        reconciled = await reconciler.reconcile(namespace, await reconciler.published_objects(namespace))
        return reconciled.progress is Progress.SETTLED

    async def source(self, name: str) -> Object:
        found = await self.cluster.find(WEBHOOK_SOURCE, "here", name)
        assert found is not None
        return found

    async def ready(self, name: str) -> str:
        conditions = (await self.source(name))["status"]["conditions"]
        return next(str(each["reason"]) for each in conditions if each["type"] == "Ready")

    async def endpoint_conditions(self, name: str) -> dict[str, tuple[str, str]]:
        found = await self.cluster.find(WEBHOOK_ENDPOINT, "here", name)
        assert found is not None
        return {each["type"]: (each["status"], each["reason"]) for each in found["status"]["conditions"]}

    async def secret(self, name: str, namespace: str = "here") -> Mapping[str, str]:
        found = await self.cluster.find(SECRET, namespace, name)
        assert found is not None
        return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}

    async def published(self, namespace: str = "here") -> Any:
        return json.loads((await self.secret("published", namespace))["sources.json"])

    @property
    def writes(self) -> int:
        return sum(len(self.server[method]) for method in ("patch", "post", "put", "delete"))


@pytest_asyncio.fixture
async def world(kmock: Any) -> AsyncIterator[World]:
    async with client.ApiClient(client.Configuration(host=str(kmock.url).rstrip("/"))) as api:
        yield World(kmock, Cluster(api))


async def test_a_source_is_published_told_and_ready_when_pods_run_by_it(world: World) -> None:
    world.make("shop", **GENERATED)
    assert await world.reconcile() is False
    published = await world.published()
    secret = (await world.secret("webhooksource-shop"))["secret"]
    assert published["sources"]["shop"]["signing"]["secrets"] == [{"value": secret}]
    assert await world.ready("shop") == "Waiting"
    world.pods.revision = published["revision"]
    assert await world.reconcile() is True
    assert await world.ready("shop") == "Ready"


async def test_an_endpoint_is_published_and_ready_when_deliveries_run_by_it(world: World) -> None:
    world.make("shop", **GENERATED)
    world.make_endpoint("crm", url="https://crm.example/", signing={"generate": True})
    assert await world.reconcile() is False
    published = await world.published()
    secret = (await world.secret("webhookendpoint-crm"))["secret"]
    assert published["endpoints"] == {"crm": {"url": "https://crm.example/", "secrets": [{"value": secret}]}}
    world.pods.revision = published["revision"]
    await world.reconcile()
    assert await world.ready("shop") == "Ready"  # which deliveries need not load
    assert (await world.endpoint_conditions("crm"))["Ready"] == ("False", "Waiting")
    world.pods.deliveries_revision, world.pods.paused = published["revision"], {"crm": False}
    assert await world.reconcile() is True
    assert (await world.endpoint_conditions("crm"))["Ready"] == ("True", "Ready")
    world.pods.paused = {"crm": True}
    await world.reconcile()
    assert (await world.endpoint_conditions("crm"))["Delivering"] == ("False", "Paused")
    owner = world.server.objects[SECRETS, "here", "webhookendpoint-crm"]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("WebhookEndpoint", "crm")


async def test_an_endpoint_that_never_was_right_keeps_nobody_waiting(world: World) -> None:
    world.make_endpoint("crm", url="https://crm.example/", signing={"secretRefs": [{"name": "no"}]})
    await world.reconcile()
    assert await world.reconcile() is True
    assert (await world.endpoint_conditions("crm"))["Ready"] == ("False", "SecretMissing")
    assert "endpoints" not in await world.published()


async def test_an_endpoint_that_is_deleted_is_in_the_file_no_more(world: World) -> None:
    world.make_endpoint("crm", url="https://crm.example/", signing={"generate": True})
    await world.reconcile()
    assert "crm" in (await world.published())["endpoints"]
    del world.server.objects[ENDPOINTS, "here", "crm"]
    await world.reconcile()
    assert "endpoints" not in await world.published()


async def test_a_cluster_without_the_definition_of_endpoints_still_serves_sources(world: World) -> None:
    world.server["get", f"/apis/{API}/namespaces/here/webhookendpoints"] << Response(
        payload={"message": "the server could not find the requested resource"}, status=404
    )
    world.make("shop")
    await world.reconcile()
    assert "shop" in (await world.published())["sources"]


async def test_a_cluster_that_has_lost_the_definition_of_sources_closes_none(world: World) -> None:
    world.make("shop")
    await world.reconcile()
    world.server["get", f"/apis/{API}/namespaces/here/webhooksources"] << Response(
        payload={"message": "the server could not find the requested resource"}, status=404
    )
    with pytest.raises(ClusterError, match="could not find"):
        await world.reconcile()
    assert "shop" in (await world.published())["sources"]


async def test_the_pods_are_touched_so_that_their_kubelets_bring_the_file_now(world: World) -> None:
    world.put("v1/pods", {"metadata": {"name": "webhook-1", "namespace": "here"}})
    world.make("shop", **GENERATED)
    await world.reconcile()
    touched = world.server.objects["v1/pods", "here", "webhook-1"]["metadata"]["annotations"]
    assert touched == {"realmate.dev/sources": (await world.published())["revision"]}


async def test_where_nothing_changed_nothing_is_written(world: World) -> None:
    world.make("shop", **GENERATED)
    await world.reconcile()
    world.pods.revision = (await world.published())["revision"]
    await world.reconcile()
    before = world.writes
    assert await world.reconcile()
    assert world.writes == before


async def test_what_it_applies_is_its_own_and_forced(world: World) -> None:
    world.make("shop")
    await world.reconcile()
    applied = [request for request in world.server["patch"] if str(request.url.path).endswith("/secrets/published")]
    assert applied
    for request in applied:
        assert dict(request.url.query) == {"fieldManager": "realmate-operator", "force": "true"}
        assert request.headers["Content-Type"] == "application/apply-patch+yaml"


async def test_what_the_api_server_rejects_is_told_in_the_status(world: World) -> None:
    world.make("shop")
    rejection = {"message": "secrets is forbidden: no rights", "code": 403}
    world.server["patch", "/api/v1/namespaces/here/secrets/published"] << Response(payload=rejection, status=403)
    await world.reconcile()
    assert await world.ready("shop") == "PublishFailed"
    assert "no rights" in str((await world.source("shop"))["status"])


async def test_where_the_operator_has_no_rights_the_status_says_so_and_nothing_else_happens(world: World) -> None:
    world.make("shop", **GENERATED)
    rejection = {"message": "pods is forbidden: no rights", "code": 403}
    world.server["get", "/api/v1/namespaces/here/pods"] << Response(payload=rejection, status=403)
    assert await world.reconcile() is True
    assert await world.ready("shop") == "NoRights"
    assert "operator.serviceAccount" in str((await world.source("shop"))["status"])
    assert "secret" not in await world.secret("webhooksource-shop")


async def test_an_answer_that_is_a_rejection_has_its_reason(world: World) -> None:
    world.server["get", "/apis/realmate.dev/v1alpha1/namespaces/here/webhooksources"] << Response(
        payload={"message": "no rights"}, status=403
    )
    with pytest.raises(ClusterError, match="403 no rights"):
        await world.reconcile()


async def test_an_api_server_that_is_away_is_one_error() -> None:
    async with client.ApiClient(client.Configuration(host="http://127.0.0.1:1")) as api:
        with pytest.raises(ClusterError, match=r"127\.0\.0\.1"):
            await Cluster(api).list(WEBHOOK_SOURCE, "here")


async def test_a_source_without_an_installation_is_told_so(world: World) -> None:
    world.put(SOURCES, {"metadata": {"name": "lonely", "namespace": "elsewhere"}, "spec": {}})
    await world.reconcile("elsewhere")
    found = await world.cluster.find(WEBHOOK_SOURCE, "elsewhere", "lonely")
    assert found is not None
    assert {each["reason"] for each in found["status"]["conditions"]} == {"NoInstallation"}


async def test_the_trouble_of_one_namespace_is_not_another_s(world: World) -> None:
    world.make("shop")
    world.install("broken")
    world.put(SOURCES, {"metadata": {"name": "bad", "namespace": "broken"}, "spec": {"signing": {"generate": True}}})
    world.server["get", "/api/v1/namespaces/broken/pods"] << Response(payload={"message": "no"}, status=500)
    await Operator(OperatorSettings())._reconcile(world.cluster)  # noqa: SLF001 (the loop around it never ends)
    assert "shop" in (await world.published())["sources"]
    assert "sources.json" not in await world.secret("published", "broken")


async def test_one_that_is_to_be_erased_is_held_revoked_erased_and_let_go(world: World) -> None:
    world.make("shop", deletionPolicy="Erase")
    await world.reconcile()
    assert (await world.source("shop"))["metadata"]["finalizers"] == [FINALIZER]
    world.server.objects[SOURCES, "here", "shop"].patch({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    await world.reconcile()
    assert await world.ready("shop") == "Revoking"
    jobs = [key for key in world.server.objects if key[0].plural == "jobs"]
    assert jobs == []  # a pod may still take its events
    published = await world.published()
    assert published["sources"]["shop"] == {"enabled": False}
    world.pods.revision = published["revision"]
    await world.reconcile()
    [job] = [key for key in world.server.objects if key[0].plural == "jobs"]
    assert await world.ready("shop") == "Erasing"
    world.server.objects[job].patch({"status": {"conditions": [{"type": "Failed", "status": "True"}]}})
    await world.reconcile()
    assert await world.ready("shop") == "ErasureFailed"
    told = len(world.server["post", "/api/v1/namespaces/here/events"])
    await world.reconcile()
    assert len(world.server["post", "/api/v1/namespaces/here/events"]) == told > 0
    assert (await world.source("shop"))["metadata"]["finalizers"] == [FINALIZER]
    world.server.objects[job].patch({"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    await world.reconcile()
    assert await world.cluster.find(WEBHOOK_SOURCE, "here", "shop") is None


async def test_one_that_is_to_be_retained_is_never_held(world: World) -> None:
    world.make("shop", deletionPolicy="Erase")
    await world.reconcile()
    world.server.objects[SOURCES, "here", "shop"].patch({"spec": {"deletionPolicy": "Retain"}})
    await world.reconcile()
    assert (await world.source("shop"))["metadata"]["finalizers"] == []


async def test_finalizers_go_only_when_no_pod_of_the_operator_is_left(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Deployment says 0 replicas while the last process still ends, and that would take hold again."""
    labels = {"app.kubernetes.io/component": "operator"}
    deployments = "apps/v1/deployments"
    world.server.resources[deployments] = {"kind": "deployments", "namespaced": True, "verbs": ["list"]}
    deployment = {"metadata": {"name": "operator", "namespace": "here"}, "status": {"replicas": 0}}
    world.put(deployments, deployment | {"spec": {"selector": {"matchLabels": labels}}})
    world.put("v1/pods", {"metadata": {"name": "operator-1", "namespace": "here", "labels": labels}})
    world.make("shop", deletionPolicy="Erase")
    await world.reconcile()
    kubeconfig(tmp_path, str(world.server.url))
    monkeypatch.setattr(
        "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    letting_go = asyncio.create_task(asyncio.to_thread(release, "here", "operator", tell=lambda _: None))
    await asyncio.sleep(2)
    assert (await world.source("shop"))["metadata"]["finalizers"] == [FINALIZER]
    del world.server.objects["v1/pods", "here", "operator-1"]
    await letting_go
    assert (await world.source("shop"))["metadata"]["finalizers"] == []


async def test_the_process_turns_tells_of_itself_and_ends_when_told(world: World, tmp_path: Path) -> None:
    """As a pod runs it. (kopf does not watch kmock; a real watch is tests/e2e's matter, too.)"""
    port, admin_port = free_port(), free_port()
    log = (tmp_path / "log").open("w")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "realmate", "operator", "run"),
        env={
            "KUBECONFIG": str(kubeconfig(tmp_path, str(world.server.url))),
            "OPERATOR_NAMESPACE": "here",
            "OPERATOR_INTERVAL_S": "1",
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
            "PATH": "",
        },
        stdout=log,
        stderr=log,
    )
    try:
        await eventually(lambda: world.server.objects[SECRETS, "here", "published"].get("data"), log.name)
        async with aiohttp.ClientSession() as session:
            world.put(SECRETS, {"metadata": {"name": "webhooksource-shop", "namespace": "here"}})
            url = f"{str(world.server.url).rstrip('/')}/apis/{API}/namespaces/here/webhooksources"
            metadata = {"name": "shop", "namespace": "here", "uid": "1", "generation": 1, "resourceVersion": "5"}
            await session.post(url, json={"metadata": metadata, "spec": GENERATED})
            await eventually(lambda: "status" in world.server.objects[SOURCES, "here", "shop"], log.name)
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 200
                assert (await answer.json())["operator"]["seconds_since_reconcile"] < 30
            async with session.get(f"http://127.0.0.1:{admin_port}/metrics") as answer:
                assert 'realmate_operator_reconciles_total{outcome="well"}' in await answer.text()
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
        log.close()


def kubeconfig(directory: Path, url: str) -> Path:
    path = directory / "kubeconfig"
    named = {"name": "kmock"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "kmock",
        "clusters": [named | {"cluster": {"server": url.rstrip("/")}}],
        "users": [named | {"user": {"token": "token"}}],
        "contexts": [named | {"context": {"cluster": "kmock", "user": "kmock"}}],
    }
    path.write_text(json.dumps(content))
    return path


async def eventually(condition: Callable[[], object], log: str) -> None:
    give_up_at = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < give_up_at, Path(log).read_text()  # noqa: ASYNC240 (the test is over)
        await asyncio.sleep(0.1)


async def test_a_loop_that_hangs_is_found_out() -> None:
    operator = Operator(OperatorSettings())
    assert set(operator.check()) == {"seconds_since_reconcile", "watch_lag_seconds"}
    operator._reconciled_at -= 1000  # noqa: SLF001
    with pytest.raises(kopf.PermanentError):
        operator.check()
