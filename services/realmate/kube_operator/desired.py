"""The desired state, computed from the actual state by pure functions. `reconcile` reads the one and applies the other.

A source or endpoint that cannot be published as it is written stays as it was published before (a new source is closed,
a new endpoint is not there), and its status says why. That is what the services do with a broken file, too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from realmate.kube_operator import spec
from realmate.kube_operator.entries import (
    CLOSED,
    ENDPOINTS,
    ENTRY_KINDS,
    SOURCE,
    SOURCES,
    Entry,
    EntryKind,
    key_of,
    kind_of,
    name_of,
)
from realmate.kube_operator.keyring import Key, Keyring, make_key, next_keyring
from realmate.kube_operator.kinds import Object, Reason
from realmate.sources.configuration import ConfigurationError, UnusableSecret
from realmate.sources.model import DEFAULT


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
    component: str
    """The service that it is a replica of."""
    answered: bool
    revision: str | None
    """The file's revision that the pod runs by; None: it does not say."""
    events: Mapping[tuple[str, str], int] | None = None
    """How many events the pod has counted since its start, by source and outcome; None: it does not say."""
    paused: Mapping[str, bool] = {}
    """Whether each endpoint is paused, as far as the pod says."""


class Published(NamedTuple):
    """The file as it is in the installation's Secret. Its revision is `GENERATION-HASH`; the generation only grows."""

    document: bytes = b""
    salt: str = ""
    since: Mapping[str, int] = {}
    """The generation with which each entry changed last, by the keys of `entries`."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries of all sections, by the keys of their objects."""
        document = _document(self.document)
        return {kind.key(name): entry for kind in ENTRY_KINDS for name, entry in document.get(kind.section, {}).items()}

    @property
    def names_sources(self) -> bool:
        return bool(_document(self.document).get(SOURCES))

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
    objects: Sequence[Object]
    """The WebhookSources and WebhookEndpoints."""
    secrets: spec.Secrets
    """The Secrets that the objects refer to."""
    keyrings: Mapping[str, Keyring]
    """The keyrings, by their object's key."""
    open_default: bool | None
    published: Published
    pods: Sequence[Pod]


class Problem(NamedTuple):
    """Why an object cannot be published as it is written."""

    reason: Reason
    message: str
    is_about_secrets: bool = False


class DesiredState(NamedTuple):
    """The desired state, by the objects' keys."""

    keyrings: Mapping[str, Keyring]
    """The keyrings of the objects whose keys the operator makes."""
    published: Published
    revisions: Mapping[str, str]
    """The revision of each object's own entry in the file. One that has no entry has none."""
    problems: Mapping[str, Problem]


def desired(actual: Actual, *, make: Callable[[datetime], Key] = make_key) -> DesiredState:
    """`actual.published.salt` must be there already."""
    keyrings, problems, entries = dict[str, Keyring](), dict[str, Problem](), dict[str, Entry]()
    has_sources = any(kind_of(each) is SOURCE for each in actual.objects)
    if actual.open_default:
        entries[DEFAULT] = {}
    elif actual.open_default is False or (actual.published.names_sources and not has_sources):
        # Beside any other source it is closed unmentioned. When the last one is gone it must not open by itself.
        entries[DEFAULT] = CLOSED
    before = actual.published.entries
    for each in actual.objects:
        key, kind = key_of(each), kind_of(each)
        entry: Entry | None = kind.closed
        if not is_deleted(each):
            found = _prepared(each, actual, make, keyrings)
            if isinstance(found, Problem):
                problems[key] = found
                entry = _as_before(each, before.get(key, kind.closed))
            else:
                entry = found
        if entry is not None:
            entries[key] = entry
    salt = actual.published.salt
    revisions = {key: _revision(entry, salt) for key, entry in entries.items()}
    return DesiredState(keyrings, _publication(entries, actual), revisions, problems)


def _as_before(published: Object, before: Entry | None) -> Entry | None:
    """The entry of an object that is wrong now: as it was, but paused where that is asked."""
    if before is None or before == CLOSED or not published["spec"].get("paused"):
        return before
    return {**before, "paused": True}


def _prepared(
    published: Object, actual: Actual, make: Callable[[datetime], Key], keyrings: dict[str, Keyring]
) -> Entry | Problem:
    """The object's entry; its keyring, if it generates keys, goes into `keyrings`."""
    key = key_of(published)
    if spec.generates(published):
        try:
            keyrings[key] = _keyring(published, actual, make)
        except ValueError as error:  # one object's mistake must not stop the others
            place = f"{kind_of(published).section}.{name_of(published)}"
            return Problem(Reason.INVALID, f"{place}.signing.rotation: {error}")
    return _entry(published, actual.secrets, keyrings.get(key))


def is_deleted(published: Object) -> bool:
    return "deletionTimestamp" in published["metadata"]


def readers(kind: EntryKind, pods: Sequence[Pod]) -> list[Pod]:
    """The pods that have to load the entries of a kind."""
    return [pod for pod in pods if pod.component in kind.readers]


def has_loaded(pods: Sequence[Pod], published: Published, key: str) -> bool:
    """Whether every one of these pods runs by the entry as it is published. Without pods, nobody works by it."""
    return key in published.since and not unloaded(pods, published, key)


def unloaded(pods: Sequence[Pod], published: Published, key: str) -> list[Pod]:
    """The pods that do not run by the entry yet; those that only lack a later change of another one do."""
    since = published.since.get(key, published.generation)
    return [
        pod
        for pod in pods
        if pod.revision != published.revision and not since <= generation_of(pod.revision) < published.generation
    ]


def _keyring(published: Object, actual: Actual, make: Callable[[datetime], Key]) -> Keyring:
    key, kind = key_of(published), kind_of(published)
    is_loaded = has_loaded(readers(kind, actual.pods), actual.published, key)
    entry = actual.published.entries.get(key, {}) if is_loaded else {}
    taken = [each["value"] for each in kind.part_with_secrets(dict(entry)).get("secrets", [])]
    return next_keyring(
        actual.keyrings.get(key),
        spec.rotation(published),
        asked=spec.rotation_asked(published),
        accepted=lambda made: made.secret in taken,
        now=actual.now,
        make=make,
    )


def _entry(published: Object, secrets: spec.Secrets, ring: Keyring | None) -> Entry | Problem:
    try:
        entry = spec.settings(published, secrets, [key.secret for key in ring.keys] if ring else [])
    except spec.Missing as missing:
        return Problem(Reason.SECRET_MISSING, str(missing), is_about_secrets=True)
    try:
        kind_of(published).check(name_of(published), entry)
    except ConfigurationError as error:
        return Problem(Reason.INVALID, str(error), is_about_secrets=isinstance(error, UnusableSecret))
    return entry


def _publication(entries: Mapping[str, Entry], actual: Actual) -> Published:
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
    document = {"revision": f"{generation}-{fingerprint}", **_sections(entries)}
    return Published(json.dumps(document, sort_keys=True, indent=1).encode(), before.salt, since)


def _sections(entries: Mapping[str, Entry]) -> Mapping[str, Any]:
    """The entries by their sections. Without endpoints it is a file that services of before know."""
    sections: dict[str, dict[str, Entry]] = {SOURCES: {}}
    for key, entry in entries.items():
        section, _, name = key.rpartition("/")
        sections.setdefault(section or SOURCES, {})[name] = entry
    return sections


def _revision(content: Mapping[str, Any], salt: str) -> str:
    """A fingerprint of the content. Pods show it to anyone, so it is salted: it tells nothing of what it is made of."""
    return hmac.new(salt.encode(), json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:16]


def _document(content: bytes) -> Mapping[str, Any]:
    """The published document; an empty one where somebody's edit has made it unreadable."""
    try:
        document = json.loads(content)
        sections = (document.get(SOURCES), document.get(ENDPOINTS, {}))
        return document if all(isinstance(section, dict) for section in sections) else {}
    except (ValueError, AttributeError):
        return {}
