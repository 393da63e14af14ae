"""Requests that schemathesis makes from the API's document: no 5xx, and no answer that is not described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from described import DOCUMENT
from installation import event, start_installation

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
EXAMPLES = 60
KEY = "6a41b347-8d80-4ce9-84ba-7af66f369f6a"
MESSAGE = "49108c71-4dca-4af3-9f32-61bc745926e2"
NAMES = {"id": KEY, "conversation": KEY, "source": "default", "name": "default", "number": 1}
"""What is there, by the names of the parts of paths."""
OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_installation(tmp_path_factory.mktemp("schemathesis"), console=True) as installation:
        installation.insist(event("NEW_CONVERSATION", id=KEY))
        installation.insist(event("NEW_MESSAGE", id=MESSAGE, conversation_id=KEY, content="Olá"))
        assert installation.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=KEY))[0] == 400
        yield installation.intake.url


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_described(url: str, method: str, path: str) -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation: Any = schema[path][method]

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(), is_there=...)
    def run(case: Any, is_there: bool) -> None:  # noqa: FBT001 (hypothesis chooses it)
        if is_there:
            case.path_parameters |= {name: NAMES[name] for name in case.path_parameters if name in NAMES}
            case.headers["X-Realmate-Console"] = "1"
        if "wait" in case.query:
            case.query["wait"] = 0.01
        case.call_and_validate(base_url=url, checks=CHECKS)

    run()
