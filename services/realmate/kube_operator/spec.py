"""A WebhookSource's or a WebhookEndpoint's spec: what it refers to, and what it means in the file of sources
(docs/sources.md, docs/endpoints.md).

`entry_schema` has the names. What the API server could not check, the services' own reading of the file does
(`entries`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from realmate.kube_operator.entries import kind_of
from realmate.kube_operator.entry_schema import to_file
from realmate.kube_operator.keyring import Rotation
from realmate.kube_operator.kinds import Object

ROTATE = "realmate.dev/rotate"
"""The annotation: another text than last time asks for a rotation."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)")
_SECONDS = {"h": 3600, "m": 60, "s": 1}
_LONGEST_S = 10 * 365 * 86_400


class Reference(NamedTuple):
    """A key of a Secret in the same namespace."""

    name: str
    key: str


class Missing(Exception):
    """A Secret that is referred to, or a key in it, is not there; the message names it."""


Secrets = Mapping[str, Mapping[str, str]]
"""The contents of the Secrets that exist, by name and then by key."""


def generates(published: Object) -> bool:
    return bool(published["spec"].get("signing", {}).get("generate"))


def rotation(published: Object) -> Rotation:
    """Raises ValueError for what is no duration."""
    said = published["spec"].get("signing", {}).get("rotation", {})
    durations = {name: duration(said[name]) for name in ("every", "overlap") if name in said}
    return Rotation(**durations)


def rotation_asked(published: Object) -> str:
    return str(published["metadata"].get("annotations", {}).get(ROTATE, ""))


def duration(text: str) -> timedelta:
    """The duration that a text such as `1h30m` names. Raises ValueError, also for one that is longer than ten years."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: 720h or 1h30m, for instance")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than ten years")
    return timedelta(seconds=seconds)


def signing_references(published: Object) -> list[Reference]:
    return _references(published["spec"].get("signing", {}))


def references(published: Object) -> Iterator[Reference]:
    yield from signing_references(published)
    yield from _references(published["spec"].get("reply", {}))


def _references(part: Mapping[str, Any]) -> list[Reference]:
    return [Reference(each["name"], each.get("key", "secret")) for each in part.get("secretRefs", [])]


def settings(published: Object, secrets: Secrets, own: Sequence[str]) -> dict[str, Any]:
    """The object's entry in the file; `own` are its generated secrets. Raises Missing."""
    spec, kind = published["spec"], kind_of(published)
    entry = to_file(spec, kind.settings)
    if "signing" in spec:
        values = [*own] if generates(published) else [_value(secrets, each) for each in _references(spec["signing"])]
        kind.part_with_secrets(entry)["secrets"] = [{"value": value} for value in values]
    if "secretRefs" in spec.get("reply", {}):
        entry["reply"]["secrets"] = [{"value": _value(secrets, each)} for each in _references(spec["reply"])]
    if not spec.get("paused"):
        entry.pop("paused", None)
    return entry


def _value(secrets: Secrets, reference: Reference) -> str:
    if reference.name not in secrets:
        raise Missing(f"there is no Secret {reference.name}")
    if reference.key not in secrets[reference.name]:
        raise Missing(f"Secret {reference.name} has no key {reference.key}")
    return secrets[reference.name][reference.key].strip()
