"""What there should be, from all that there is: pure. `reconcile` gathers the one and makes the other true.

A source that cannot be published as it is written stays as it was published before (a new one: closed), and its status
says why. That is what the services do with a broken file, too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from realmate.kube_operator import spec
from realmate.kube_operator.keyring import Key, Keyring, make_key, turn
from realmate.kube_operator.kinds import Object
from realmate.sources.configuration import ConfigurationError
from realmate.sources.file import check_source
from realmate.sources.model import DEFAULT

CLOSED = {"enabled": False}


class Installation(NamedTuple):
    """One Realmate, as its chart describes itself in the annotations of a PodTemplate."""

    namespace: str
    release: str
    secret: str
    """Where the pods have their file of sources from."""
    public_url: str
    webhook_url: str
    """Inside the cluster."""
    open_default: bool
    """Whether anyone may send as `default` where no WebhookSource says otherwise."""
    template: Object
    """Of the pods that administer: replays and erasures."""


class Pod(NamedTuple):
    """One that reads the file of sources."""

    uid: str
    name: str
    answered: bool
    revision: str | None
    """None: it does not say."""
    events: Mapping[tuple[str, str], int] | None = None
    """How many it counted since its start, by source and outcome; None: it does not say."""


class Published(NamedTuple):
    """The file as it is in the installation's Secret."""

    document: bytes = b""
    salt: str = ""

    @property
    def entries(self) -> Mapping[str, Any]:
        entries: Mapping[str, Any] = _document(self.document).get("sources", {})
        return entries

    @property
    def revision(self) -> str | None:
        return _document(self.document).get("revision")


class Actual(NamedTuple):
    now: datetime
    sources: Sequence[Object]
    secrets: spec.Secrets
    """Those that are referred to."""
    keyrings: Mapping[str, Keyring]
    """By their source."""
    open_default: bool
    published: Published
    pods: Sequence[Pod]


class Problem(NamedTuple):
    """Why a source cannot be published as it is written."""

    reason: str
    message: str
    of_secrets: bool


class Plan(NamedTuple):
    """Everything by its source."""

    keyrings: Mapping[str, Keyring]
    """Of those that generate."""
    published: Published
    revisions: Mapping[str, str]
    """Of each entry in the file, as the file has one of all."""
    problems: Mapping[str, Problem]


def desired(actual: Actual, *, make: Callable[[datetime], Key] = make_key) -> Plan:
    """`actual.published.salt` must be there already."""
    keyrings, problems, entries = dict[str, Keyring](), dict[str, Problem](), dict[str, Any]()
    if not actual.open_default:
        entries[DEFAULT] = CLOSED
    for source in actual.sources:
        name = source["metadata"]["name"]
        if is_deleted(source):
            entries[name] = CLOSED
            continue
        found = _prepared(source, actual, make, keyrings)
        if isinstance(found, Problem):
            problems[name] = found
            before = actual.published.entries.get(name, CLOSED)
            found = {**before, "paused": True} if source["spec"].get("paused") and before != CLOSED else before
        entries[name] = found
    salt = actual.published.salt
    revisions = {name: _revision(entry, salt) for name, entry in entries.items()}
    return Plan(keyrings, _publication(entries, salt), revisions, problems)


def _prepared(
    source: Object, actual: Actual, make: Callable[[datetime], Key], keyrings: dict[str, Keyring]
) -> dict[str, Any] | Problem:
    """The source's entry; its keyring, if it generates keys, goes into `keyrings`."""
    name = source["metadata"]["name"]
    if spec.generates(source):
        try:
            keyrings[name] = _keyring(source, actual, make)
        except ValueError as error:  # one source's mistake must not stop the others
            return Problem("Invalid", f"sources.{name}.signing.rotation: {error}", of_secrets=False)
    return _entry(source, actual.secrets, keyrings.get(name))


def is_deleted(source: Object) -> bool:
    return "deletionTimestamp" in source["metadata"]


def has_loaded(pods: Sequence[Pod], revision: str | None) -> bool:
    """Whether every pod runs by this revision. No pods: nobody takes anything, nor what was revoked."""
    return revision is not None and all(pod.revision == revision for pod in pods)


def _keyring(source: Object, actual: Actual, make: Callable[[datetime], Key]) -> Keyring:
    name = source["metadata"]["name"]
    taken = (
        _secrets(actual.published.entries.get(name, {})) if has_loaded(actual.pods, actual.published.revision) else []
    )
    return turn(
        actual.keyrings.get(name),
        spec.rotation(source),
        asked=spec.rotation_asked(source),
        accepted=lambda key: key.secret in taken,
        now=actual.now,
        make=make,
    )


def _entry(source: Object, secrets: spec.Secrets, ring: Keyring | None) -> dict[str, Any] | Problem:
    name = source["metadata"]["name"]
    try:
        entry = spec.settings(source, secrets, [key.secret for key in ring.keys] if ring else [])
    except spec.Missing as missing:
        return Problem("SecretMissing", str(missing), of_secrets=True)
    try:
        check_source(name, entry)
    except ConfigurationError as error:
        message = str(error)
        return Problem("Invalid", message, of_secrets=": the secret " in message)
    return entry


def _secrets(entry: Mapping[str, Any]) -> list[str]:
    return [each["value"] for each in entry.get("signing", {}).get("secrets", [])]


def _publication(entries: Mapping[str, Any], salt: str) -> Published:
    document = {"revision": _revision(entries, salt), "sources": entries}
    return Published(json.dumps(document, sort_keys=True, indent=1).encode(), salt)


def _revision(content: Mapping[str, Any], salt: str) -> str:
    """It is made of all that is said, and, by the salt, tells nothing of it: pods show it to anyone."""
    return hmac.new(salt.encode(), json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:16]


def _document(content: bytes) -> Mapping[str, Any]:
    """What somebody's hand has made unreadable says nothing."""
    try:
        document = json.loads(content)
        return document if isinstance(document.get("sources"), dict) else {}
    except (ValueError, AttributeError):
        return {}
