"""The client of our pods: it asks those that read the file of sources for their state, on their port for
administration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from realmate.kube_operator.desired import Pod
from realmate.kube_operator.kinds import ADMIN_PORT, Object

TIMEOUT = aiohttp.ClientTimeout(total=3)
COUNTED = "realmate_webhook_events"
PAUSED = "realmate_endpoint_paused"
COMPONENT = "app.kubernetes.io/component"


class PodClient:
    """`token` is one of scope admin, where the metrics want one."""

    def __init__(self, token: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask_all(self, pods: Sequence[Object]) -> list[Pod]:
        """Return the pods that run and answer, and those that are ready and do not answer: nobody knows by what these
        run. A pod that does neither is still starting."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers) as session:
            running = [pod for pod in pods if _runs(pod)]
            asked = await asyncio.gather(*(_ask(session, pod) for pod in running))
        return [told for pod, told in zip(running, asked, strict=True) if told.answered or _is_ready(pod)]

    async def report(self, pod: Object) -> Any:
        """Return the progress that a pod for administration reports; None where it reports nothing."""
        if not _runs(pod):
            return None
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            text = await _get(session, pod, "/")
        return None if text is None else _json(text)


async def _ask(session: aiohttp.ClientSession, pod: Object) -> Pod:
    readiness, metrics = await asyncio.gather(_get(session, pod, "/readyz"), _get(session, pod, "/metrics"))
    said = None if readiness is None else _json(readiness)
    revision = said.get("revisions", {}).get("sources") if isinstance(said, dict) else None
    metadata = pod["metadata"]
    return Pod(
        metadata["uid"],
        metadata["name"],
        metadata.get("labels", {}).get(COMPONENT, ""),
        readiness is not None,
        revision,
        None if metrics is None else counted(metrics),
        {} if metrics is None else paused(metrics),
    )


async def _get(session: aiohttp.ClientSession, pod: Object, path: str) -> str | None:
    """503 is an answer, too: readiness says there what it waits for."""
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{ADMIN_PORT}{path}") as answer:
            return await answer.text() if answer.status in {200, 503} else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def counted(metrics: str) -> Mapping[tuple[str, str], int]:
    """Events by source and outcome, from a pod's Prometheus text."""
    return {
        (sample.labels["source"], sample.labels["outcome"]): int(sample.value)
        for sample in _samples(metrics, COUNTED)
        if sample.name == f"{COUNTED}_total"
    }


def paused(metrics: str) -> Mapping[str, bool]:
    """Whether each endpoint is paused, from a pod's Prometheus text."""
    return {sample.labels["endpoint"]: sample.value > 0 for sample in _samples(metrics, PAUSED)}


def _samples(metrics: str, name: str) -> Iterator[Sample]:
    lines = "\n".join(line for line in metrics.splitlines() if name in line)
    for family in text_string_to_metric_families(lines):
        yield from family.samples


def _runs(pod: Object) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
