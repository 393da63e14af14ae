"""The Jobs of EventReplays and of erasures of deleted sources, and what becomes of them. Everything here is pure."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from realmate.kube_operator.desired import Installation
from realmate.kube_operator.kinds import ADMIN_PORT, EVENT_REPLAY, Object, Reason
from realmate.kube_operator.status import Condition, merged, written

KEPT_FOR_S = 86_400
"""How long a finished Job stays, with its log."""
OPTIONS = (
    ("source", "--source"),
    ("since", "--since"),
    ("until", "--until"),
    ("conversation", "--conversation"),
    ("eventsPerSecond", "--rate"),
)


def replay_job(replay: Object, installation: Installation) -> Object:
    spec = replay["spec"]
    arguments = [
        "replay",
        "--url",
        installation.webhook_url,
        "--report",
        "/dev/termination-log",
        "--report-port",
        str(ADMIN_PORT),
    ]
    arguments += [f"{option}={spec[name]}" for name, option in OPTIONS if name in spec]
    arguments += [f"--code={code}" for code in spec.get("codes", [])]
    arguments += ["--again"] if spec.get("again") else []
    arguments += [] if spec.get("dryRun") else ["--send"]
    owner = {
        "apiVersion": EVENT_REPLAY.api_version,
        "kind": EVENT_REPLAY.kind,
        "name": replay["metadata"]["name"],
        "uid": replay["metadata"]["uid"],
        "controller": True,
    }
    return _job(f"eventreplay-{replay['metadata']['name']}", arguments, installation, owner=owner)


def erasure_job(source: Object, installation: Installation) -> Object:
    """The Job that erases all that a deleted source ever sent.

    The Job's name has the object's uid in it, so a new WebhookSource of the same name gets a Job of its own.
    """
    name, uid = source["metadata"]["name"], source["metadata"]["uid"]
    return _job(f"erase-{name[:40]}-{uid[:8]}", ["erase", "source", name, "--if-exists", "--yes"], installation)


def _job(name: str, arguments: Sequence[str], installation: Installation, *, owner: Object | None = None) -> Object:
    template = copy.deepcopy(installation.template)
    # The kubelet expands `$(VARIABLE)` in arguments, the database's URL among them; `$$` is a dollar sign to it.
    template["spec"]["containers"][0]["args"] = [argument.replace("$", "$$") for argument in arguments]
    template["spec"]["restartPolicy"] = "Never"
    return {
        "metadata": {
            "name": name,
            "namespace": installation.namespace,
            "labels": template.get("metadata", {}).get("labels", {}),
            **({"ownerReferences": [owner]} if owner else {}),
        },
        "spec": {
            "backoffLimit": 5,
            "ttlSecondsAfterFinished": KEPT_FOR_S,
            # A pod whose node goes is no failure.
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": template,
        },
    }


def outcome(job: Object | None) -> bool | None:
    """Return whether the Job succeeded; None while it has not ended."""
    conditions = {} if job is None else _conditions(job)
    if conditions.get("Complete"):
        return True
    return False if conditions.get("Failed") else None


def _conditions(job: Object) -> Mapping[str, bool]:
    return {each["type"]: each["status"] == "True" for each in job.get("status", {}).get("conditions", [])}


def is_over(replay: Object) -> bool:
    return replay.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def replay_status(replay: Object, job: Object | None, reports: Sequence[Mapping[str, Any]], now: datetime) -> Object:
    """`reports`: what each of the Job's pods said last."""
    before = replay.get("status", {})
    done = outcome(job)
    phase = {True: "Succeeded", False: "Failed", None: "Running" if reports else "Pending"}[done]
    generation = replay["metadata"]["generation"]
    total, sent, answers = (
        _added(reports) if reports else (before.get("total"), before.get("sent"), before.get("answers"))
    )
    said: Object = {
        "observedGeneration": generation,
        "phase": phase,
        "total": total,
        "sent": sent,
        "answers": answers,
        "startedAt": before.get("startedAt", written(now)),
        "conditions": merged(before.get("conditions", []), [_complete(done, sent, total, answers)], generation, now),
    }
    if done is not None:
        said["completedAt"] = before.get("completedAt", written(now))
    return {name: value for name, value in said.items() if value is not None}


def _added(reports: Sequence[Mapping[str, Any]]) -> tuple[int, int, dict[str, int]]:
    """A pod that went on for another one counts what that left: all that were sent, and those still to send."""
    answers = Counter[str]()
    for report in reports:
        answers.update(report["answers"])
    sent = sum(report["sent"] for report in reports)
    return sent + reports[-1]["total"] - reports[-1]["sent"], sent, dict(answers)


def _complete(
    done: bool | None,  # noqa: FBT001 (an outcome)
    sent: int | None,
    total: int | None,
    answers: Mapping[str, int] | None,
) -> Condition:
    progress = f"{sent or 0} of {total or 0} sent"
    rejected = sum(count for answer, count in (answers or {}).items() if not answer.startswith("2"))
    if done is None:
        return Condition("Complete", "False", Reason.RUNNING, progress)
    if not done:
        return Condition("Complete", "False", Reason.FAILED, f"{progress}; the log of its Job says why")
    reason = Reason.SOME_REJECTED if rejected else Reason.SUCCEEDED
    return Condition("Complete", "True", reason, f"{progress}, {rejected} rejected again")
