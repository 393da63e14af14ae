"""The kinds of objects that the operator has to do with."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import Any, NamedTuple

GROUP, VERSION = "realmate.dev", "v1alpha1"
ADMIN_PORT = 9000
"""The port of /metrics and of health in each pod of ours: the chart's `realmate.adminPort`."""

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


class Reason(StrEnum):
    """The reasons of conditions. They are an interface: `kubectl wait` and alerts use them."""

    # SecretsReady
    GENERATED = "Generated"
    REFERENCED = "Referenced"
    UNSIGNED = "Unsigned"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 (a reason)
    # Published
    PUBLISHED = "Published"
    INVALID = "Invalid"
    PUBLISH_FAILED = "PublishFailed"
    # Loaded
    LOADED = "Loaded"
    WAITING = "Waiting"
    NO_PODS = "NoPods"
    # Delivering, of a WebhookEndpoint
    DELIVERING = "Delivering"
    NOT_TOLD = "NotTold"
    # Ready
    READY = "Ready"
    PAUSED = "Paused"
    NO_INSTALLATION = "NoInstallation"
    NO_RIGHTS = "NoRights"
    REVOKING = "Revoking"
    ERASING = "Erasing"
    ERASURE_FAILED = "ErasureFailed"
    # Complete, of an EventReplay
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    SOME_REJECTED = "SomeRefused"
    FAILED = "Failed"


class Progress(Enum):
    """Whether the operator waits for something: a pod to load a file, or a Job to end."""

    SETTLED = "nothing changes until somebody changes something"
    PENDING = "look again soon"

    @classmethod
    def of(cls, parts: Iterable[Progress]) -> Progress:
        """Return SETTLED if all parts are settled."""
        return cls.SETTLED if all(part is cls.SETTLED for part in parts) else cls.PENDING


WEBHOOK_SOURCE = ResourceKind("WebhookSource", f"{GROUP}/{VERSION}", "webhooksources")
WEBHOOK_ENDPOINT = ResourceKind("WebhookEndpoint", f"{GROUP}/{VERSION}", "webhookendpoints")
EVENT_REPLAY = ResourceKind("EventReplay", f"{GROUP}/{VERSION}", "eventreplays")
SECRET = ResourceKind("Secret", "v1", "secrets")
POD = ResourceKind("Pod", "v1", "pods")
POD_TEMPLATE = ResourceKind("PodTemplate", "v1", "podtemplates")
EVENT = ResourceKind("Event", "v1", "events")
JOB = ResourceKind("Job", "batch/v1", "jobs")
DEPLOYMENT = ResourceKind("Deployment", "apps/v1", "deployments")
