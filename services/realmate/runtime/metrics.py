"""The Prometheus text of this process, or, with PROMETHEUS_MULTIPROC_DIR, of all processes that share that directory.

Each part defines its own metrics beside the code that counts; every name starts with `realmate_`.
"""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render() -> bytes:
    # prometheus_client itself reads this variable when it is imported; it is its interface, not a setting of ours.
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
