"""The API's document: current, valid in itself, and of the parameters that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from described import DOCUMENT
from realmate.query import changes, lists, messages
from realmate.query.api import OPERATIONS
from realmate.wire.webhook import parse_event


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_each_problem_of_an_operation_has_an_example_that_fits() -> None:
    for name, operation in operations():
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/problem+json")
            if content is None:
                continue
            validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
            codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
            assert sorted(content["examples"]) == [f"{status}-{code}" for code in codes]
            for code in codes:
                example = DOCUMENT["components"]["examples"][f"{status}-{code}"]["value"]
                assert (example["code"], str(example["status"])) == (code, status), name
                assert list(validator.iter_errors(example)) == [], name


def test_every_operation_has_an_id_of_its_own_and_says_what_it_does() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    assert all(operation["summary"] for _, operation in operations())


@pytest.mark.parametrize("module", [changes, lists, messages])
def test_the_parameters_are_those_that_are_read(module: Any) -> None:
    described = [each.name for each in module.OPERATION.parameters if each.place == "query"]
    assert sorted(described) == sorted(module.KNOWN)


def test_an_event_that_fits_the_document_is_taken() -> None:
    schema = DOCUMENT["paths"]["/webhook/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    key = "6a41b347-8d80-4ce9-84ba-7af66f369f6a"
    whole = {"id": key, "conversation_id": key, "content": "Olá"}
    for kind, data in (("NEW_CONVERSATION", {"id": key}), ("NEW_MESSAGE", whole), ("CLOSE_CONVERSATION", {"id": key})):
        event = {"type": kind, "timestamp": "2025-06-04T14:20:05Z", "data": data}
        Draft202012Validator(schema).validate(event)
        parse_event(json.dumps(event).encode(), "")
        for name in data:
            less = {**event, "data": {each: value for each, value in data.items() if each != name}}
            assert list(Draft202012Validator(schema).iter_errors(less))
