"""The form of the file of sources as a whole."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Document(msgspec.Struct, forbid_unknown_fields=True):
    sources: dict[str, Any] = {}
    endpoints: dict[str, Any] = {}
    revision: Annotated[str, msgspec.Meta(max_length=64)] | None = None
