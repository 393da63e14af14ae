"""The operator as kopf runs it: watches wake one loop that reconciles, and probes check both.

kopf's part is what is hard about watching: streams that break, versions that are gone, credentials that expire,
signals. Nothing here handles a change; each handler only says that there is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import kopf
import prometheus_client
import structlog

from realmate.kube_operator import metrics
from realmate.kube_operator.cluster import Cluster, ClusterError, connect
from realmate.kube_operator.kinds import (
    EVENT_REPLAY,
    GROUP,
    VERSION,
    WEBHOOK_ENDPOINT,
    WEBHOOK_SOURCE,
    Object,
    Progress,
    Reason,
)
from realmate.kube_operator.pods import PodClient
from realmate.kube_operator.reconcile import Reconciler, of_namespace
from realmate.kube_operator.settings import OperatorSettings, load
from realmate.kube_operator.watch_lag import PATIENCE_S, WatchLag
from realmate.runtime import exposition, logs
from realmate.runtime.listening import cannot_listen
from realmate.runtime.settings import SettingsError

PENDING_INTERVAL_S = 2.0
REST_S = 0.5
"""The shortest pause between two reconciles: many changes at once need one reconcile."""

COUNTED_REASONS = (
    *(Reason.NO_INSTALLATION, Reason.NO_RIGHTS, Reason.SECRET_MISSING, Reason.INVALID, Reason.PAUSED, Reason.PUBLISHED),
)

COUNTED = ((WEBHOOK_SOURCE, metrics.SOURCES), (WEBHOOK_ENDPOINT, metrics.ENDPOINTS))

log = structlog.get_logger(__name__)


class Operator:
    """The operator. There is one in each process."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._changed = asyncio.Event()
        self._reconciled_at = time.monotonic()
        self.watch = WatchLag()

    def wake(self) -> None:
        self._changed.set()

    async def run_for_ever(self) -> None:
        async with connect() as cluster:
            while True:
                progress = await self._reconcile(cluster)
                self._reconciled_at = time.monotonic()
                await asyncio.sleep(REST_S)
                is_settled = progress is Progress.SETTLED
                interval_s = self._settings.operator_interval_s if is_settled else PENDING_INTERVAL_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), interval_s)
                self._changed.clear()

    def check(self) -> dict[str, float]:
        """Raises kopf.PermanentError where a restart would help."""
        found = {
            "seconds_since_reconcile": time.monotonic() - self._reconciled_at,
            "watch_lag_seconds": self.watch.lag_s,
        }
        if max(found.values()) > PATIENCE_S + self._settings.operator_interval_s:
            raise kopf.PermanentError(f"it hangs: {found}")
        return found

    async def _reconcile(self, cluster: Cluster) -> Progress:
        """Reconcile every namespace. Errors are logged and counted; the next reconcile mends all of them."""
        reconciler = Reconciler(cluster, PodClient(self._settings.operator_metrics_token))
        only = self._settings.operator_namespace
        try:
            objects = await reconciler.published_objects(only)
            self.watch.listed(objects)
            present = {each["metadata"]["namespace"] for each in objects}
            namespaces = {only} if only else present | await reconciler.namespaces()
        except ClusterError as error:
            metrics.RECONCILES.labels("failed").inc()
            log.warning("no reconcile", error=str(error))
            return Progress.SETTLED
        parts = [
            await self._reconcile_namespace(reconciler, each, [*of_namespace(objects, each)])
            for each in sorted(namespaces)
        ]
        return Progress.of(parts)

    async def _reconcile_namespace(self, reconciler: Reconciler, namespace: str, objects: list[Object]) -> Progress:
        try:
            with metrics.RECONCILE_SECONDS.time():
                reconciled = await reconciler.reconcile(namespace, objects)
        except ClusterError as error:
            metrics.RECONCILES.labels("failed").inc()
            log.warning("reconcile failed", namespace=namespace, error=str(error))
            return Progress.SETTLED
        except Exception:  # one namespace's trouble must not stop the others
            metrics.RECONCILES.labels("failed").inc()
            log.exception("reconcile failed", namespace=namespace)
            return Progress.SETTLED
        metrics.RECONCILES.labels("well").inc()
        metrics.LAST_RECONCILE.set_to_current_time()
        for kind, gauge in COUNTED:
            for reason in COUNTED_REASONS:
                gauge.labels(namespace, reason).set(reconciled.reasons.count((kind.kind, reason)))
        return reconciled.progress


def run() -> None:
    """Run the operator until a signal. Raises SettingsError."""
    settings = load()
    logs.configure(settings, service="operator")
    for chatty in ("aiohttp.access", "kopf.activities.probe", "kopf.objects"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    _register(settings)
    try:
        prometheus_client.start_http_server(settings.admin_port, settings.host, registry=exposition.registry())
    except (OSError, UnicodeError) as error:
        raise SettingsError(cannot_listen(settings.host, settings.admin_port, error, variable="ADMIN_PORT")) from error
    only = settings.operator_namespace
    kopf.run(
        standalone=True,  # one replica; two would only do the same twice: see desired
        clusterwide=only is None,
        namespaces=[only] if only else [],
        liveness_endpoint=f"http://{settings.host}:{settings.port}/healthz",
    )


def _register(own: OperatorSettings) -> None:
    """Register the handlers in kopf's default registry, which knows how to log in."""
    operator: Operator
    loop: asyncio.Task[None]

    @kopf.on.startup()
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        nonlocal operator, loop
        settings.scanning.disabled = True  # no rights over the whole cluster, for definitions and namespaces
        settings.posting.enabled = False  # its Events are for developers; ours are for people
        operator = Operator(own)
        loop = asyncio.create_task(operator.run_for_ever())
        loop.add_done_callback(_die)

    @kopf.on.cleanup()
    async def stop(**_: Any) -> None:
        loop.remove_done_callback(_die)
        loop.cancel()

    @kopf.on.event(GROUP, VERSION, WEBHOOK_SOURCE.plural)
    @kopf.on.event(GROUP, VERSION, WEBHOOK_ENDPOINT.plural)
    def published_object_changed(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002 (kopf's name)
        operator.watch.brought(dict(body), is_gone=type == "DELETED")
        operator.wake()

    @kopf.on.event(GROUP, VERSION, EVENT_REPLAY.plural)
    def replay_changed(**_: Any) -> None:
        operator.wake()

    @kopf.on.probe(id="operator")
    def is_alive(**_: Any) -> dict[str, float]:
        return operator.check()


def _die(loop: asyncio.Task[None]) -> None:
    """A loop that ended is a bug, or the cluster's configuration: the process says so and ends."""
    log.error("the loop ended", exc_info=loop.exception())
    raise SystemExit(1)
