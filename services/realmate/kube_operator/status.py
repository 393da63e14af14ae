"""The status of a WebhookSource or a WebhookEndpoint, and the Events of its changes. All functions are pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from realmate.kube_operator import spec
from realmate.kube_operator.desired import DesiredState, Installation, Pod, has_loaded, readers, unloaded
from realmate.kube_operator.entries import ENDPOINT, SOURCE, EntryKind, key_of, kind_of, name_of, secret_name
from realmate.kube_operator.keyring import Keyring, next_rotation
from realmate.kube_operator.kinds import Object, Reason
from realmate.sources.model import DEFAULT

TRAFFIC_INTERVAL = timedelta(seconds=60)
"""The interval at which counts are written. Each write of a status is a change that every watcher gets."""


HARMLESS = {Reason.WAITING, Reason.PAUSED, Reason.REVOKING, Reason.ERASING}
"""The reasons for which an object is not Ready and nothing is wrong."""


class Condition(NamedTuple):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str

    @property
    def is_false(self) -> bool:
        return self.status == "False"


class KubernetesEvent(NamedTuple):
    """A Kubernetes Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def status(  # noqa: PLR0913 (all that a status tells of)
    published: Object,
    plan: DesiredState,
    *,
    installation: Installation,
    pods: Sequence[Pod],
    failure: str | None,
    now: datetime,
) -> Object:
    """`failure`: why the plan could not be made true, if so."""
    key, generation = key_of(published), published["metadata"]["generation"]
    before: Mapping[str, Any] = published.get("status", {})
    revision = plan.revisions.get(key)
    kind = kind_of(published)
    concerned = readers(kind, pods)
    is_loaded = failure is None and has_loaded(concerned, plan.published, key)
    loaded_revision = revision if is_loaded else before.get("loadedRevision")
    conditions = [
        *_secrets_and_published(published, plan, failure),
        _loaded(
            kind, concerned, unloaded(concerned, plan.published, key), is_loaded=loaded_revision == revision is not None
        ),
    ]
    if kind is ENDPOINT:
        conditions.append(_delivering(name_of(published), concerned))
    conditions.append(_ready(published, conditions))
    said: Object = {
        "observedGeneration": generation,
        "conditions": merged(before.get("conditions", []), conditions, generation, now),
        **_keys_told(published, plan.keyrings.get(key)),
    }
    if kind is SOURCE:
        said["url"] = url(installation, name_of(published))
        said["traffic"] = traffic(before.get("traffic", {}), name_of(published), pods, now)
    if revision is not None:
        said["revision"] = revision
    if loaded_revision is not None:
        said["loadedRevision"] = loaded_revision
    return said


def _keys_told(published: Object, ring: Keyring | None) -> Object:
    """Return what the status tells of the keys: which there are, and of generated ones where they are and how long."""
    told: Object = {"keys": _keys(published, ring)}
    if ring is not None:
        told["secretName"] = secret_name(published)
        if (due_at := next_rotation(ring, spec.rotation(published))) is not None:
            told["nextRotation"] = written(due_at)
    return told


def url(installation: Installation, name: str) -> str:
    base = (installation.public_url or installation.webhook_url).rstrip("/")
    return f"{base}/webhook/" if name == DEFAULT else f"{base}/webhook/{name}/"


def not_ready(published: Object, reason: Reason, message: str, now: datetime) -> Object:
    """Return the status of an object that is not published: it is being deleted, or there is no installation to
    publish for."""
    generation = published["metadata"]["generation"]
    before = published.get("status", {}).get("conditions", [])
    condition = Condition("Ready", "False", reason, message)
    return {
        "observedGeneration": generation,
        "conditions": merged(before, [condition], generation, now),
    }


def _secrets_and_published(about: Object, plan: DesiredState, failure: str | None) -> tuple[Condition, Condition]:
    problem = plan.problems.get(key_of(about))
    if problem is not None and problem.is_about_secrets:
        secrets = Condition("SecretsReady", "False", problem.reason, problem.message)
    else:
        secrets = Condition("SecretsReady", "True", *_kind_of_secrets(about))
    if failure is not None:
        published = Condition("Published", "False", Reason.PUBLISH_FAILED, failure)
    elif problem is not None:
        published = Condition(
            "Published", "False", problem.reason, f"What was published before holds. {problem.message}"
        )
    else:
        published = Condition("Published", "True", Reason.PUBLISHED, "As it is written here")
    return secrets, published


def _kind_of_secrets(published: Object) -> tuple[Reason, str]:
    if spec.generates(published):
        who = "Senders find theirs" if kind_of(published) is SOURCE else "The receiver finds its own"
        return Reason.GENERATED, f"{who} in Secret {secret_name(published)}"
    if "signing" in published["spec"]:
        return Reason.REFERENCED, "All that are referred to are there"
    return Reason.UNSIGNED, "Anyone may send as this source"


def _loaded(kind: EntryKind, pods: Sequence[Pod], waiting: Sequence[Pod], *, is_loaded: bool) -> Condition:
    if not pods:
        return Condition("Loaded", "False", Reason.NO_PODS, f"No pod of {' or '.join(sorted(kind.readers))} is running")
    if is_loaded:
        return Condition("Loaded", "True", Reason.LOADED, "Every pod runs by it")
    names = sorted(pod.name for pod in waiting)
    few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")  # noqa: PLR2004
    return Condition("Loaded", "False", Reason.WAITING, f"{len(names)} of {len(pods)} pods do not run by it yet: {few}")


def _delivering(endpoint: str, pods: Sequence[Pod]) -> Condition:
    """Tell whether the endpoint is sent to, by what the pods of deliveries say in their metrics."""
    said = [pod.paused[endpoint] for pod in pods if endpoint in pod.paused]
    if not said:
        return Condition("Delivering", "Unknown", Reason.NOT_TOLD, "No pod tells in its metrics whether it is paused")
    if any(said):
        message = "It is paused, and what it is to be told waits: `realmate endpoints show` says why"
        return Condition("Delivering", "False", Reason.PAUSED, message)
    return Condition("Delivering", "True", Reason.DELIVERING, "It is told what happens")


def _ready(published: Object, others: Sequence[Condition]) -> Condition:
    for condition in others:
        if condition.is_false:
            return Condition("Ready", "False", condition.reason, condition.message)
    if published["spec"].get("paused"):
        message = "Its events are answered 503, so that its senders send them again"
        return Condition("Ready", "False", Reason.PAUSED, message)
    is_source = kind_of(published) is SOURCE
    return Condition("Ready", "True", Reason.READY, "Its events are taken" if is_source else "It is told what happens")


def merged(before: Sequence[Object], conditions: Sequence[Condition], generation: int, now: datetime) -> list[Object]:
    """Return the conditions as Kubernetes keeps them: the time of the last transition belongs to the status, not to its
    reason."""
    known = {each["type"]: each for each in before}
    found = []
    for condition in conditions:
        old = known.get(condition.type, {})
        since = old["lastTransitionTime"] if old.get("status") == condition.status else written(now)
        found.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": str(condition.reason),
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return found


def _keys(published: Object, ring: Keyring | None) -> list[Object]:
    """Return the keys that are accepted, without their secrets."""
    if ring is None:
        return [{"id": f"{name}/{key}"} for name, key in spec.signing_references(published)]
    keys = []
    for key in ring.keys:
        told: Object = {"id": key.id, "madeAt": written(key.made_at)}
        if key.current_since is not None:
            told["currentSince"] = written(key.current_since)
        if key.retires_at is not None:
            told["retiresAt"] = written(key.retires_at)
        keys.append(told)
    return keys


def traffic(before: Mapping[str, Any], source: str, pods: Sequence[Pod], now: datetime) -> Object:
    """Return the events accepted and rejected so far: the totals of before, and what each pod has counted since then.

    What a pod counts after the last look before its end is missing: the database is what has the truth.
    """
    if before and now - read(before["asOf"]) < TRAFFIC_INTERVAL:
        return dict(before)
    counted: dict[str, Object] = {}
    totals = {outcome: int(before.get(outcome, 0)) for outcome in ("accepted", "rejected")}
    for pod in pods:
        seen = before.get("pods", {}).get(pod.uid, {})
        if pod.events is None:
            counted |= {pod.uid: seen} if seen else {}
            continue
        counted[pod.uid] = {outcome: pod.events.get((source, outcome), 0) for outcome in totals}
        for outcome, count in counted[pod.uid].items():
            last = seen.get(outcome, 0)
            totals[outcome] += count - last if count >= last else count  # less: its process began anew
    told: Object = {
        **totals,
        "asOf": written(now),
        "pods": {uid: each for uid, each in counted.items() if any(each.values())},
    }
    if sum(totals.values()) > before.get("accepted", 0) + before.get("rejected", 0):
        told["lastEventAt"] = written(now)
    elif "lastEventAt" in before:
        told["lastEventAt"] = before["lastEventAt"]
    return told


def events_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[KubernetesEvent]:
    """The Events of a change of status."""
    old = {each["type"]: each for each in before.get("conditions", [])}
    for condition in after["conditions"]:
        earlier = old.get(condition["type"], {})
        is_news = (earlier.get("status"), earlier.get("reason")) != (condition["status"], condition["reason"])
        if condition["type"] == "Ready" and is_news:
            yield KubernetesEvent(
                "Warning" if _is_bad(condition) else "Normal", condition["reason"], condition["message"]
            )
    yield from _events_of_keys(before.get("keys"), after.get("keys", []), after.get("secretName"))


def _is_bad(condition: Mapping[str, Any]) -> bool:
    return condition["status"] == "False" and condition["reason"] not in HARMLESS


def _events_of_keys(
    before: Sequence[Object] | None, after: Sequence[Object], secret: str | None
) -> Iterator[KubernetesEvent]:
    if secret is None or before is None:
        return
    old = {key["id"]: key for key in before}
    for key in after:
        if key["id"] not in old and "currentSince" not in key:
            yield KubernetesEvent(
                "Normal", "KeyMade", f"Key {key['id']} is on its way to all pods; then senders get it"
            )
        elif "currentSince" in key and "currentSince" not in old.get(key["id"], key):
            yield KubernetesEvent(
                "Normal", "Rotated", f"Secret {secret} has key {key['id']} now; the one before retires"
            )
    for gone in old.keys() - {key["id"] for key in after}:
        yield KubernetesEvent("Normal", "KeyRetired", f"Key {gone} is accepted no more")


def written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def read(text: str) -> datetime:
    return datetime.fromisoformat(text)
