"""What one section of the benchmark found out, as it is kept in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from measurement import Measurement, MessageKind, Spread
from outcome import Load


@dataclass
class Sample:
    """The memory of every process at one moment of the soak."""

    at_s: float
    mib: dict[str, dict[str, float]]
    """By process with its children: rss, pss and uss. Shared pages count once in pss, in every rss, in no uss."""


@dataclass
class Findings:
    """What a section measured; `figures` are what its goal is about, by their names."""

    postgres: dict[str, str] = field(default_factory=dict)
    """Its version, and the settings that make its commits durable."""
    measurements: list[Measurement] = field(default_factory=list)
    figures: dict[str, Spread] = field(default_factory=dict)
    compared: list[tuple[MessageKind, MessageKind]] = field(default_factory=list)
    """Whose rate is put in proportion to whose."""
    minutes: list[Load] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


@dataclass
class Result:
    section: str
    taken_at: datetime
    machine: dict[str, str]
    options: dict[str, object]
    findings: Findings

    def save(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.taken_at:%Y-%m-%dT%H%M%SZ}-{self.section}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        return msgspec.json.decode(path.read_bytes(), type=cls)
