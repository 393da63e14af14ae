"""One reconcile of a namespace: it reads the actual state, computes the desired one, and applies the difference.

The order is what keeps promises: a key is stored before it is published, published before senders and receivers get it,
and a deleted source is revoked everywhere before it is erased. Each step can fail, and the next reconcile repeats it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from realmate.kube_operator import replays, spec
from realmate.kube_operator import status as statuses
from realmate.kube_operator.cluster import CONFLICT, FORBIDDEN, NOT_FOUND, Cluster, ClusterError
from realmate.kube_operator.desired import (
    Actual,
    DesiredState,
    Installation,
    Pod,
    Published,
    desired,
    has_loaded,
    is_deleted,
    readers,
)
from realmate.kube_operator.entries import ENTRY_KINDS, READERS, SOURCE, key_of, kind_of, name_of, secret_name
from realmate.kube_operator.keyring import Keyring
from realmate.kube_operator.kinds import (
    EVENT,
    EVENT_REPLAY,
    GROUP,
    JOB,
    POD,
    POD_TEMPLATE,
    SECRET,
    Object,
    Progress,
    Reason,
    ResourceKind,
)
from realmate.kube_operator.pods import PodClient

FINALIZER = f"{GROUP}/erase"
INSTALLATIONS = f"{GROUP}/installation=true"
READING = f"app.kubernetes.io/component in ({','.join(READERS)})"
"""The pods that read the file of sources."""
DOCUMENT, SALT, SINCE, KEYRING = "sources.json", "salt", "since.json", "keyring.json"
LOADED_SOON = f"{GROUP}/sources"
"""The annotation that makes a kubelet look at its pod now, and so bring the new file within a second, not a minute."""

log = structlog.get_logger(__name__)


class Reconciled(NamedTuple):
    """The result of a reconcile."""

    progress: Progress
    reasons: Sequence[tuple[str, Reason]]
    """The kind of each object, and why it is published as it is written or not."""


class Reconciler:
    def __init__(self, cluster: Cluster, pods: PodClient) -> None:
        self._cluster = cluster
        self._pods_client = pods

    async def namespaces(self) -> set[str]:
        """Return the namespaces that have an installation or a replay."""
        found: set[str] = set()
        for kind, labels in ((POD_TEMPLATE, INSTALLATIONS), (EVENT_REPLAY, "")):
            found |= {each["metadata"]["namespace"] for each in await self._cluster.list(kind, None, labels=labels)}
        return found

    async def published_objects(self, namespace: str | None) -> list[Object]:
        """Return the WebhookSources and WebhookEndpoints. A cluster may not have the definition of endpoints yet.

        Raises ClusterError, also where the definition of sources is gone: what is published holds then.
        """
        found: list[Object] = []
        for kind in ENTRY_KINDS:
            try:
                found += await self._cluster.list(kind.resource, namespace)
            except ClusterError as error:
                if error.status != NOT_FOUND or kind is SOURCE:
                    raise
                log.warning("the cluster has no such definition", kind=kind.resource.kind)
        return found

    async def reconcile(self, namespace: str, objects: Sequence[Object]) -> Reconciled:
        """`objects`: all WebhookSources and WebhookEndpoints of the namespace. Raises ClusterError."""
        found = await self._cluster.list(POD_TEMPLATE, namespace, labels=INSTALLATIONS)
        if len(found) != 1:
            message = f"there must be one Realmate in its namespace, and there are {len(found) or 'none'}"
            return await self._report_all(objects, Reason.NO_INSTALLATION, message)
        installation = installation_of(found[0])
        try:
            return await self._reconcile_installation(installation, objects)
        except ClusterError as error:
            if error.status != FORBIDDEN:
                raise
            return await self._report_no_rights(namespace, objects, str(error))

    async def _report_no_rights(self, namespace: str, objects: Sequence[Object], rejection: str) -> Reconciled:
        """The release in this namespace has not let this operator in. What it published once goes on as it is."""
        message = f"The operator has no right to work in this namespace; operator.serviceAccount gives it: {rejection}"
        log.warning("shut out", namespace=namespace, error=rejection)
        return await self._report_all(objects, Reason.NO_RIGHTS, message)

    async def _report_all(self, objects: Sequence[Object], reason: Reason, message: str) -> Reconciled:
        """Tell every object why nothing is done for it."""
        for each in objects:
            await self._report(each, statuses.not_ready(each, reason, message, _now()))
        return Reconciled(Progress.SETTLED, [(each["kind"], reason) for each in objects])

    async def _reconcile_installation(self, installation: Installation, objects: Sequence[Object]) -> Reconciled:
        for each in objects:
            await self._set_finalizer(each)
        pods = await self._pods(installation)
        actual = await self._actual(installation, objects, pods)
        plan = desired(actual)
        failure = await self._apply(installation, actual, plan)
        if failure is None and plan.published.document != actual.published.document:
            await self._prompt_pods(installation, pods, plan.published)
        parts = [await self._update(each, plan, installation, pods, failure) for each in objects]
        parts.append(await self._replay(installation.namespace, installation))
        return Reconciled(Progress.of(parts), [(each["kind"], _reason(plan, each)) for each in objects])

    # --- reading ---

    async def _pods(self, installation: Installation) -> list[Pod]:
        labels = f"app.kubernetes.io/instance={installation.release},{READING}"
        return await self._pods_client.ask_all(await self._cluster.list(POD, installation.namespace, labels=labels))

    async def _actual(self, installation: Installation, objects: Sequence[Object], pods: Sequence[Pod]) -> Actual:
        namespace = installation.namespace
        keyrings = {}
        for each in objects:
            if spec.generates(each) and (ring := await self._keyring(namespace, each)) is not None:
                keyrings[key_of(each)] = ring
        names = {reference.name for each in objects for reference in spec.references(each)}
        found = {name: await self._secret(namespace, name) for name in names}
        held = await self._secret(namespace, installation.secret) or {}
        salt = held.get(SALT) or secrets.token_hex(16)
        published = Published(held.get(DOCUMENT, "").encode(), salt, _since(held.get(SINCE, "")))
        present = {name: content for name, content in found.items() if content is not None}
        return Actual(_now(), objects, present, keyrings, installation.open_default, published, pods)

    async def _secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        secret = await self._cluster.find(SECRET, namespace, name)
        if secret is None:
            return None
        content = secret.get("data") or {}
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in content.items()}

    async def _keyring(self, namespace: str, published: Object) -> Keyring | None:
        """Return the stored keyring; None where somebody's edit has made it unreadable, and then a new one is made."""
        content = await self._secret(namespace, secret_name(published)) or {}
        try:
            return msgspec.json.decode(content.get(KEYRING, ""), type=Keyring)
        except msgspec.DecodeError:
            return None

    # --- applying ---

    async def _apply(self, installation: Installation, actual: Actual, plan: DesiredState) -> str | None:
        """Store the keys, and publish; why it could not be done, if so."""
        try:
            for each in actual.objects:
                key = key_of(each)
                if key in plan.keyrings and plan.keyrings[key] != actual.keyrings.get(key):
                    await self._cluster.apply(SECRET, _keyring_secret(each, plan.keyrings[key]))
            if plan.published.document != actual.published.document:
                since = msgspec.json.encode(plan.published.since).decode()
                content = {DOCUMENT: plan.published.document.decode(), SALT: plan.published.salt, SINCE: since}
                await self._cluster.apply(SECRET, _with_data(installation.namespace, installation.secret, content))
                log.info("published", namespace=installation.namespace, revision=plan.published.revision)
        except ClusterError as error:
            log.error("not published", namespace=installation.namespace, error=str(error))  # noqa: TRY400 (told whole)
            return str(error)
        return None

    async def _prompt_pods(self, installation: Installation, pods: Sequence[Pod], published: Published) -> None:
        """Touch the pods, so that each kubelet brings them the new file at once. Without it, it comes in a minute."""
        patch = {"metadata": {"annotations": {LOADED_SOON: published.revision}}}
        for pod in pods:
            try:
                await self._cluster.merge(POD, installation.namespace, pod.name, patch)
            except ClusterError as error:
                log.warning("pod not hurried: it loads the file in a minute", pod=pod.name, error=str(error))

    async def _set_finalizer(self, published: Object) -> None:
        """A source that is to be erased when it is deleted must not go before; any other must never be held."""
        metadata = published["metadata"]
        wanted = published["spec"].get("deletionPolicy") == "Erase"
        if not is_deleted(published) and wanted != (FINALIZER in metadata.get("finalizers", [])):
            await self._finalize(published, held=wanted)

    async def _finalize(self, published: Object, *, held: bool) -> None:
        metadata = {name: published["metadata"][name] for name in ("name", "namespace", "uid")}
        body = {"metadata": metadata | {"finalizers": [FINALIZER] if held else []}}
        await self._cluster.apply(kind_of(published).resource, body)

    async def _update(
        self,
        published: Object,
        plan: DesiredState,
        installation: Installation,
        pods: Sequence[Pod],
        failure: str | None,
    ) -> Progress:
        """Write the object's status. Revoke and erase a source that was deleted."""
        key, concerned = key_of(published), readers(kind_of(published), pods)
        is_there = key in plan.revisions  # a new endpoint that is wrong has no entry, and nothing to wait for
        loaded = failure is None and (not is_there or has_loaded(concerned, plan.published, key))
        if is_deleted(published):
            return await self._finish_deletion(published, installation, is_revoked=loaded)
        said = statuses.status(published, plan, installation=installation, pods=pods, failure=failure, now=_now())
        await self._report(published, said)
        return Progress.SETTLED if loaded else Progress.PENDING

    async def _finish_deletion(self, source: Object, installation: Installation, *, is_revoked: bool) -> Progress:
        """Take a deleted source one step on: every pod revokes it, a Job erases what it sent, then it is gone.

        Where the Job has failed it stays as it is until a person does something.
        """
        if FINALIZER not in source["metadata"].get("finalizers", []):
            return Progress.PENDING
        job = replays.erasure_job(source, installation)
        name = job["metadata"]["name"]
        reason, message = Reason.REVOKING, "No pod may take its events any more before they are erased"
        if is_revoked:
            there = await self._cluster.find(JOB, installation.namespace, name)
            if there is None:
                await self._cluster.create(JOB, job)
            done = replays.outcome(there)
            if done:
                await self._finalize(source, held=False)
                log.info("erased", namespace=installation.namespace, source=name_of(source))
                return Progress.PENDING
            reason, message = Reason.ERASING, f"It is revoked everywhere; Job {name} erases what it sent"
            if done is False:
                reason, message = Reason.ERASURE_FAILED, f"The log of Job {name} says why; delete the Job to try again"
        await self._report(source, statuses.not_ready(source, reason, message, _now()))
        return Progress.SETTLED if reason is Reason.ERASURE_FAILED else Progress.PENDING

    async def _replay(self, namespace: str, installation: Installation) -> Progress:
        """Take every EventReplay one step on."""
        waiting = [each for each in await self._cluster.list(EVENT_REPLAY, namespace) if not replays.is_over(each)]
        for replay in waiting:
            if is_deleted(replay):
                continue
            wanted = replays.replay_job(replay, installation)
            job = await self._cluster.find(JOB, namespace, wanted["metadata"]["name"])
            if job is None:
                job = await self._cluster.create(JOB, wanted)
            said = replays.replay_status(replay, job, await self._reports(namespace, wanted), _now())
            await self._write_status(EVENT_REPLAY, replay, said)
        return Progress.PENDING if waiting else Progress.SETTLED

    async def _reports(self, namespace: str, job: Object) -> list[Any]:
        """Return the last report of each pod of a Job, the oldest pod first."""
        labels = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        pods = await self._cluster.list(POD, namespace, labels=labels)
        pods.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        reports = [_last_word(pod) or await self._pods_client.report(pod) for pod in pods]
        return [report for report in reports if isinstance(report, dict) and "sent" in report]

    # --- reporting ---

    async def _report(self, published: Object, said: Object) -> None:
        kind = kind_of(published).resource
        if await self._write_status(kind, published, said):
            for told in statuses.events_of(published.get("status", {}), said):
                await self._event(kind, published, told)

    async def _write_status(self, kind: ResourceKind, about: Object, said: Object) -> bool:
        """Write the status where it differs. Return whether it did."""
        if about.get("status") == said:
            return False
        metadata = {name: about["metadata"][name] for name in ("name", "namespace", "uid")}
        try:
            await self._cluster.apply(kind, {"metadata": metadata, "status": said}, subresource="status")
        except ClusterError as error:
            if error.status == CONFLICT:  # it was deleted meanwhile, and perhaps made anew
                return False
            raise
        return True

    async def _event(self, kind: ResourceKind, about: Object, told: statuses.KubernetesEvent) -> None:
        metadata = about["metadata"]
        at = statuses.written(_now())
        try:
            await self._cluster.create(
                EVENT,
                {
                    "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
                    "involvedObject": {
                        "apiVersion": kind.api_version,
                        "kind": kind.kind,
                        **{name: metadata[name] for name in ("name", "namespace", "uid")},
                    },
                    "type": told.type,
                    "reason": told.reason,
                    "message": told.message[:1024],
                    "source": {"component": "realmate-operator"},
                    "firstTimestamp": at,
                    "lastTimestamp": at,
                    "count": 1,
                },
            )
        except ClusterError as error:
            log.warning("event not told", reason=told.reason, error=str(error))


def installation_of(template: Object) -> Installation:
    """Return the installation that the chart describes in the PodTemplate (templates/admin.yaml)."""
    metadata = template["metadata"]
    said = {name.removeprefix(f"{GROUP}/"): value for name, value in metadata["annotations"].items()}
    return Installation(
        metadata["namespace"],
        metadata["labels"]["app.kubernetes.io/instance"],
        said["secret"],
        said.get("public-url", ""),
        said["webhook-url"],
        {"true": True, "false": False}.get(said.get("open-default", "")),
        template["template"],
    )


def _keyring_secret(published: Object, ring: Keyring) -> Object:
    metadata, kind = published["metadata"], kind_of(published).resource
    content = {"secret": ring.current.secret, KEYRING: msgspec.json.encode(ring).decode()}
    secret = _with_data(metadata["namespace"], secret_name(published), content)
    secret["metadata"]["ownerReferences"] = [
        {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
    ]
    return secret


def _since(content: str) -> dict[str, int]:
    """The generation with which each entry changed last; nothing where that is unreadable, which only takes longer."""
    try:
        return msgspec.json.decode(content, type=dict[str, int])
    except msgspec.DecodeError:
        return {}


def _with_data(namespace: str, name: str, content: Mapping[str, str]) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "realmate", f"{GROUP}/published-by": "operator"},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def _last_word(pod: Object) -> Any:
    """Return the termination message of a pod, as JSON."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        message = container.get("state", {}).get("terminated", {}).get("message", "")
        try:
            return msgspec.json.decode(message)
        except msgspec.DecodeError:
            continue
    return None


def _reason(plan: DesiredState, published: Object) -> Reason:
    problem = plan.problems.get(key_of(published))
    if problem is not None:
        return problem.reason
    return Reason.PAUSED if published["spec"].get("paused") else Reason.PUBLISHED


def of_namespace(objects: Sequence[Object], namespace: str) -> Iterator[Object]:
    return (each for each in objects if each["metadata"]["namespace"] == namespace)


def _now() -> datetime:
    return datetime.now(UTC)
