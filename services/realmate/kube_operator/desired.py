"""The desired state, computed from the actual state by pure functions. `reconcile` reads the one and applies the other.

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
from realmate.kube_operator.keyring import Key, Keyring, make_key, next_keyring
from realmate.kube_operator.kinds import Object, Reason
from realmate.sources.configuration import ConfigurationError, UnusableSecret
from realmate.sources.file import check_source
from realmate.sources.model import DEFAULT

CLOSED = {"enabled": False}


class Installation(NamedTuple):
    """One Realmate, as its chart describes itself in the annotations of a PodTemplate."""

    namespace: str
    release: str
    secret: str
    """The Secret from which the pods mount their file of sources."""
    public_url: str
    webhook_url: str
    """Inside the cluster."""
    open_default: bool | None
    """Whether anyone may send as `default` where no WebhookSource says otherwise; None: until there is one."""
    template: Object
    """The template of the pods for administration: replays and erasures."""


class Pod(NamedTuple):
    """A pod that reads the file of sources."""

    uid: str
    name: str
    answered: bool
    revision: str | None
    """The file's revision that the pod runs by; None: it does not say."""
    events: Mapping[tuple[str, str], int] | None = None
    """How many events the pod has counted since its start, by source and outcome; None: it does not say."""


class Published(NamedTuple):
    """The file as it is in the installation's Secret. Its revision is `GENERATION-HASH`; the generation only grows."""

    document: bytes = b""
    salt: str = ""
    since: Mapping[str, int] = {}
    """The generation with which each entry changed last."""

    @property
    def entries(self) -> Mapping[str, Any]:
        entries: Mapping[str, Any] = _document(self.document).get("sources", {})
        return entries

    @property
    def revision(self) -> str | None:
        return _document(self.document).get("revision")

    @property
    def generation(self) -> int:
        return generation_of(self.revision)


def generation_of(revision: str | None) -> int:
    """The generation in a revision; 0 where there is none."""
    number, dash, _ = (revision or "").partition("-")
    return int(number) if dash and number.isascii() and number.isdecimal() else 0


class Actual(NamedTuple):
    now: datetime
    sources: Sequence[Object]
    secrets: spec.Secrets
    """The Secrets that the sources refer to."""
    keyrings: Mapping[str, Keyring]
    """The keyrings, by their source."""
    open_default: bool | None
    published: Published
    pods: Sequence[Pod]


class Problem(NamedTuple):
    """Why a source cannot be published as it is written."""

    reason: Reason
    message: str
    is_about_secrets: bool = False


class DesiredState(NamedTuple):
    """The desired state, by the sources' names."""

    keyrings: Mapping[str, Keyring]
    """The keyrings of the sources whose keys the operator makes."""
    published: Published
    revisions: Mapping[str, str]
    """The revision of each source's own entry in the file."""
    problems: Mapping[str, Problem]


def desired(actual: Actual, *, make: Callable[[datetime], Key] = make_key) -> DesiredState:
    """`actual.published.salt` must be there already."""
    keyrings, problems, entries = dict[str, Keyring](), dict[str, Problem](), dict[str, Any]()
    if actual.open_default:
        entries[DEFAULT] = {}
    elif actual.open_default is False or (actual.published.entries and not actual.sources):
        # Beside any other source it is closed unmentioned. When the last one is gone it must not open by itself.
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
    return DesiredState(keyrings, _publication(entries, actual), revisions, problems)


def _prepared(
    source: Object, actual: Actual, make: Callable[[datetime], Key], keyrings: dict[str, Keyring]
) -> dict[str, Any] | Problem:
    """The source's entry; its keyring, if it generates keys, goes into `keyrings`."""
    name = source["metadata"]["name"]
    if spec.generates(source):
        try:
            keyrings[name] = _keyring(source, actual, make)
        except ValueError as error:  # one source's mistake must not stop the others
            return Problem(Reason.INVALID, f"sources.{name}.signing.rotation: {error}")
    return _entry(source, actual.secrets, keyrings.get(name))


def is_deleted(source: Object) -> bool:
    return "deletionTimestamp" in source["metadata"]


def has_loaded(pods: Sequence[Pod], published: Published, name: str) -> bool:
    """Whether every pod runs by the source's entry as it is published. Without pods, nobody accepts its events."""
    return name in published.since and not unloaded(pods, published, name)


def unloaded(pods: Sequence[Pod], published: Published, name: str) -> list[Pod]:
    """The pods that do not run by the source's entry yet; those that only lack a later change of another one do."""
    since = published.since.get(name, published.generation)
    return [
        pod
        for pod in pods
        if pod.revision != published.revision and not since <= generation_of(pod.revision) < published.generation
    ]


def _keyring(source: Object, actual: Actual, make: Callable[[datetime], Key]) -> Keyring:
    name = source["metadata"]["name"]
    is_loaded = has_loaded(actual.pods, actual.published, name)
    taken = _secrets(actual.published.entries.get(name, {})) if is_loaded else []
    return next_keyring(
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
        return Problem(Reason.SECRET_MISSING, str(missing), is_about_secrets=True)
    try:
        check_source(name, entry)
    except ConfigurationError as error:
        return Problem(Reason.INVALID, str(error), is_about_secrets=isinstance(error, UnusableSecret))
    return entry


def _secrets(entry: Mapping[str, Any]) -> list[str]:
    return [each["value"] for each in entry.get("signing", {}).get("secrets", [])]


def _publication(entries: Mapping[str, Any], actual: Actual) -> Published:
    """The file with these entries: as it is where nothing changed, else under a generation that no pod has met."""
    before = actual.published
    newest = max([before.generation, *(generation_of(pod.revision) for pod in actual.pods)])
    fingerprint = _revision(entries, before.salt)
    is_as_before = entries == before.entries and before.revision == f"{newest}-{fingerprint}"
    generation = newest if is_as_before else newest + 1
    # A pod that is ahead of what is published ran by a file that was lost: nothing is known of its entries.
    known = before.entries if newest == before.generation > 0 else {}
    since = {
        name: before.since.get(name, newest) if known.get(name) == entry else generation
        for name, entry in entries.items()
    }
    document = {"revision": f"{generation}-{fingerprint}", "sources": entries}
    return Published(json.dumps(document, sort_keys=True, indent=1).encode(), before.salt, since)


def _revision(content: Mapping[str, Any], salt: str) -> str:
    """A fingerprint of the content. Pods show it to anyone, so it is salted: it tells nothing of what it is made of."""
    return hmac.new(salt.encode(), json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:16]


def _document(content: bytes) -> Mapping[str, Any]:
    """The published document; an empty one where somebody's edit has made it unreadable."""
    try:
        document = json.loads(content)
        return document if isinstance(document.get("sources"), dict) else {}
    except (ValueError, AttributeError):
        return {}
