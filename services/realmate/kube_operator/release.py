"""Letting go of every WebhookSource, so that none hangs in its deletion when the operator is gone: `helm uninstall`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from realmate.kube_operator.cluster import Cluster, connect
from realmate.kube_operator.kinds import DEPLOYMENT, WEBHOOK_SOURCE
from realmate.kube_operator.reconcile import FINALIZER

PATIENCE_S = 60.0


def release(namespace: str, deployment: str, *, tell: Callable[[str], object]) -> None:
    """Raises ClusterError."""
    asyncio.run(_release(namespace, deployment, tell))


async def _release(namespace: str, deployment: str, tell: Callable[[str], object]) -> None:
    async with connect() as cluster:
        await _stop(cluster, namespace, deployment, tell)
        for source in await cluster.list(WEBHOOK_SOURCE, namespace):
            metadata = source["metadata"]
            if FINALIZER in metadata.get("finalizers", []):
                kept = [each for each in metadata["finalizers"] if each != FINALIZER]
                version = {"resourceVersion": metadata["resourceVersion"]}
                patch = {"metadata": version | {"finalizers": kept}}
                await cluster.merge(WEBHOOK_SOURCE, namespace, metadata["name"], patch)
                tell(f"WebhookSource {metadata['name']} can be deleted now without what it sent being erased.")


async def _stop(cluster: Cluster, namespace: str, deployment: str, tell: Callable[[str], object]) -> None:
    """So that it does not take hold again."""
    if await cluster.find(DEPLOYMENT, namespace, deployment) is None:
        return
    await cluster.merge(DEPLOYMENT, namespace, deployment, {"spec": {"replicas": 0}})
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        found = await cluster.find(DEPLOYMENT, namespace, deployment)
        if found is None or not found.get("status", {}).get("replicas"):
            tell("The operator has stopped.")
            return
        await asyncio.sleep(1)
