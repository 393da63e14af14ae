"""The API server, as plain objects: what `reconcile` reads and writes. Its client does addresses, TLS and tokens."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

from realmate.errors import UserError
from realmate.kube_operator.kinds import Object, ResourceKind

FIELD_MANAGER = "realmate-operator"
TIMEOUT_S = 10
CONFLICT, FORBIDDEN, NOT_FOUND = 409, 403, 404
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class ClusterError(UserError):
    """The API server rejected, or could not be reached; the message is for a person."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ClusterUnreachable(ClusterError):
    """The API server did not answer."""

    may_pass = True


class Cluster:
    """The API server. Each call raises ClusterError."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def find(self, kind: ResourceKind, namespace: str, name: str) -> Object | None:
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ClusterError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(self, kind: ResourceKind, namespace: str | None, *, labels: str = "") -> list[Object]:
        """Return the objects of a kind. Each says its kind, which the API server says of the list alone."""
        query = {"labelSelector": labels} if labels else {}
        items: list[Object] = (await self._call("GET", kind.path(namespace), query=query))["items"]
        return [{**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in items]

    async def apply(self, kind: ResourceKind, body: Object, *, subresource: str | None = None) -> Object:
        """Server-side apply: what this manager applied before and does not now goes, what others own stays.

        With metadata.resourceVersion it is a CONFLICT if somebody changed the object since.
        """
        metadata = body["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        return await self._call("PATCH", path, whole, query=query, content_type=APPLY)

    async def create(self, kind: ResourceKind, body: Object) -> Object:
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("POST", kind.path(body["metadata"]["namespace"]), whole, query=query)

    async def merge(self, kind: ResourceKind, namespace: str, name: str, patch: Object) -> Object:
        return await self._call("PATCH", kind.path(namespace, name), patch, content_type=MERGE)

    async def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            answer = await self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=TIMEOUT_S,
            )
            content = await answer.read()
        except ApiException as error:
            raise ClusterError(f"{method} {path}: {error}", error.status) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnreachable(f"{method} {path}: {error or type(error).__name__}") from error
        if answer.status >= 400:  # noqa: PLR2004 (HTTP's own line between answers and rejections)
            raise ClusterError(f"{method} {path}: {answer.status} {_message(content)}", answer.status)
        found: Object = json.loads(content)
        return found


@asynccontextmanager
async def connect() -> AsyncIterator[Cluster]:
    """The one that this pod is in; where it is no pod, that of KUBECONFIG. Raises ClusterError."""
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:  # as every client of Kubernetes finds out
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config()
    except config.ConfigException as error:
        raise ClusterError(f"no cluster: {error}") from error
    async with client.ApiClient() as api:
        yield Cluster(api)


def _message(content: bytes) -> str:
    """Return the message of a Status object, or the beginning of any other content."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")
