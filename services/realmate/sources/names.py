"""The names that sources and endpoints may have."""

from __future__ import annotations

import re

from realmate.sources.configuration import ConfigurationError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def is_name(text: str) -> bool:
    """Whether a source, or an endpoint, can have this name."""
    return _NAME.fullmatch(text) is not None


def check_name(place: str, name: str) -> None:
    """Raise ConfigurationError where the name cannot be one."""
    if not is_name(name):
        raise ConfigurationError(f"{place}: a name is 1 to 63 of a-z, 0-9, - and _, and starts with no - or _")
