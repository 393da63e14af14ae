"""Tests on a real Kubernetes: `make e2e`, on the cluster that KUBECONFIG names. Without E2E=1 they are skipped.

| variable | |
|---|---|
| `E2E_URL` | of the cluster's Ingress; default `KUBE_INGRESS`, or http://127.0.0.1:8080 |
| `E2E_VALUES` | a values file with what the cluster needs: images, storage classes, the Ingress' class |
| `E2E_PREVIOUS` | the git revision whose chart is upgraded from; default: the last commit before that on charts/ |
| `E2E_CRDS` | a directory with the definitions of KEDA, the Gateway API, CloudNativePG and the Prometheus operator |

Each installation has a namespace of its own, which enforces Pod Security "restricted". Two cannot share the Ingress,
which has no host: nothing else must be led to /webhook and /conversations, and the tests run one after another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from release import Release

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200))
            if os.environ.get("E2E") != "1":
                item.add_marker(pytest.mark.skip(reason="needs a cluster: make e2e"))


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ.get("E2E_URL") or os.environ.get("KUBE_INGRESS", "http://127.0.0.1:8080")


@pytest.fixture
def release(url: str) -> Iterator[Release]:
    """A namespace with nothing in it."""
    release = Release(url)
    yield release
    release.delete()
