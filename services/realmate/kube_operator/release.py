"""Takes the operator's finalizer off every WebhookSource, so that none hangs in its deletion after `helm uninstall`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from realmate.kube_operator.cluster import Cluster, ClusterError, connect
from realmate.kube_operator.kinds import DEPLOYMENT, POD, WEBHOOK_SOURCE
from realmate.kube_operator.reconcile import FINALIZER

PATIENCE_S = 60.0
POLL_S = 0.5


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
    """Stop the operator, and wait until no pod of it is left: one that still ends would take hold again.

    The Deployment's own count of replicas is no help: it is 0 a second before the last process ends.
    """
    found = await cluster.find(DEPLOYMENT, namespace, deployment)
    if found is None:
        return
    await cluster.merge(DEPLOYMENT, namespace, deployment, {"spec": {"replicas": 0}})
    labels = ",".join(f"{name}={value}" for name, value in found["spec"]["selector"]["matchLabels"].items())
    give_up_at = time.monotonic() + PATIENCE_S
    while await cluster.list(POD, namespace, labels=labels):
        if time.monotonic() >= give_up_at:
            raise ClusterError(f"the operator's pods have not ended within {PATIENCE_S:g} s; the finalizers stay")
        await asyncio.sleep(POLL_S)
    tell("The operator has stopped.")
