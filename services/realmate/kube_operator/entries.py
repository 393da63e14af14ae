"""What a WebhookSource and a WebhookEndpoint have in common: each is one entry of the file of sources.

They differ in their section of the file, in their settings, and in the services that have to load them. Everything here
is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from realmate.kube_operator.kinds import WEBHOOK_ENDPOINT, WEBHOOK_SOURCE, Object, ResourceKind
from realmate.sources.endpoint_file import check_endpoint
from realmate.sources.endpoint_schema import EndpointSettings
from realmate.sources.file import check_source
from realmate.sources.schema import SourceSettings

CLOSED = {"enabled": False}
SOURCES, ENDPOINTS = "sources", "endpoints"
"""The sections of the file."""

Entry = Mapping[str, Any]
"""What the file says about one source or endpoint."""


class EntryKind(NamedTuple):
    """A kind of objects, each of which is an entry."""

    resource: ResourceKind
    section: str
    """The section of the file in which its entries stand."""
    settings: type
    """The schema of an entry."""
    check: Callable[[str, Entry], None]
    """Raises ConfigurationError unless the services would take an entry."""
    readers: frozenset[str]
    """The components whose pods work by its entries."""
    closed: Entry | None
    """The entry of an object that is deleted, or never was right; None: it has none then."""

    def key(self, name: str) -> str:
        """Return the name of an object among those of all kinds. No object's own name has a slash."""
        return name if self.section == SOURCES else f"{self.section}/{name}"

    def part_with_secrets(self, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the part of an entry that has the secrets by which it signs or is signed."""
        part: MutableMapping[str, Any] = entry.get("signing", {}) if self.section == SOURCES else entry
        return part


SOURCE = EntryKind(
    WEBHOOK_SOURCE, SOURCES, SourceSettings, check_source, frozenset({"webhook", "conversations"}), CLOSED
)
ENDPOINT = EntryKind(WEBHOOK_ENDPOINT, ENDPOINTS, EndpointSettings, check_endpoint, frozenset({"deliveries"}), None)
ENTRY_KINDS: Sequence[EntryKind] = (SOURCE, ENDPOINT)
READERS = sorted(SOURCE.readers | ENDPOINT.readers)
"""The components whose pods read the file of sources and have to load it."""


def kind_of(published: Object) -> EntryKind:
    """Return the kind of a WebhookSource or WebhookEndpoint."""
    return next(kind for kind in ENTRY_KINDS if kind.resource.kind == published["kind"])


def name_of(published: Object) -> str:
    """Return the object's name, which is that of its entry."""
    return str(published["metadata"]["name"])


def key_of(published: Object) -> str:
    return kind_of(published).key(name_of(published))


def secret_name(published: Object) -> str:
    """Return the name of the Secret with a generated key, for the sender or the receiver."""
    return f"{kind_of(published).resource.kind.lower()}-{name_of(published)}"
