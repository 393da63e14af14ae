"""The kinds of objects that the operator has to do with."""

from __future__ import annotations

from typing import Any, NamedTuple

GROUP, VERSION = "realmate.dev", "v1alpha1"

Object = dict[str, Any]
"""An object as the API server has it."""


class ResourceKind(NamedTuple):
    kind: str
    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """`namespace` None: all of them."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


WEBHOOK_SOURCE = ResourceKind("WebhookSource", f"{GROUP}/{VERSION}", "webhooksources")
EVENT_REPLAY = ResourceKind("EventReplay", f"{GROUP}/{VERSION}", "eventreplays")
SECRET = ResourceKind("Secret", "v1", "secrets")
POD = ResourceKind("Pod", "v1", "pods")
POD_TEMPLATE = ResourceKind("PodTemplate", "v1", "podtemplates")
EVENT = ResourceKind("Event", "v1", "events")
JOB = ResourceKind("Job", "batch/v1", "jobs")
DEPLOYMENT = ResourceKind("Deployment", "apps/v1", "deployments")
