"""The API's document: valid OpenAPI, complete, and of the calls, parameters and scopes that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import schemathesis
from jsonschema import Draft202012Validator

from described import DOCUMENT, response_of, validator
from realmate.console import api, overview, rejections
from realmate.console.application import Application
from realmate.console.calls import Route
from realmate.query import api as query_api
from realmate.query import changes, lists, messages
from realmate.runtime.settings import Settings
from realmate.wire.webhook import parse_event

ROUTES = Application(Settings()).routes
PAGE = Path(api.__file__).parent / "page"
PAGE_SOURCES = Path(__file__).parents[2] / "console" / "docs-page"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def template_of(route: Route) -> str:
    """Return a route's path as OpenAPI writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_each_problem_of_an_operation_has_an_example_that_fits() -> None:
    for name, operation in operations():
        for status in operation["responses"]:
            content = response_of(operation, status).get("content", {}).get("application/problem+json")
            if content is None:
                continue
            codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
            assert sorted(content["examples"]) == [f"{status}-{code}" for code in codes]
            for code in codes:
                example = DOCUMENT["components"]["examples"][f"{status}-{code}"]["value"]
                assert (example["code"], str(example["status"])) == (code, status), name
                assert list(validator(content["schema"]).iter_errors(example)) == [], name


def test_examples_of_bodies_and_answers_fit_their_schemas() -> None:
    looked_at = 0
    for name, operation in operations():
        contents = [
            operation.get("requestBody", {}),
            *(response_of(operation, each) for each in operation["responses"]),
        ]
        for content in (media for each in contents for media in each.get("content", {}).values()):
            examples = [content["example"]] if "example" in content else []
            examples += [each["value"] for each in content.get("examples", {}).values() if "value" in each]
            for example in examples:
                looked_at += 1
                assert list(validator(content["schema"]).iter_errors(example)) == [], name
    assert looked_at > len(ROUTES)


def test_every_operation_has_an_id_of_its_own_and_says_what_it_does() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids)) == len(query_api.OPERATIONS) + len(api.OPERATIONS)
    assert all(operation["summary"] for _, operation in operations())


def test_every_call_of_the_console_is_described_and_no_other_one() -> None:
    described = {(each.method, each.path) for each in api.OPERATIONS}
    assert described == {(route.method, template_of(route)) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_call_of_the_console_is_described_with_its_scope_and_the_parts_of_its_path(route: Route) -> None:
    path = template_of(route)
    operation = DOCUMENT["paths"][path][route.method.lower()]
    needed = {scope for each in operation.get("security", []) for scopes in each.values() for scope in scopes}
    assert needed == ({route.scope} if route.scope else set())
    assert route.scope is None or f"`{route.scope}`" in operation["description"]
    parts = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
    assert parts == re.findall(r"\{(\w+)\}", path)


def test_what_query_shows_is_the_same_without_the_operations() -> None:
    shown = json.loads(query_api.DOCUMENT)
    schemathesis.openapi.from_dict(shown).validate()
    assert shown["paths"] == {path: DOCUMENT["paths"][path] for path in shown["paths"]}
    left_out = DOCUMENT["paths"].keys() - shown["paths"].keys()
    assert left_out == {each.path for each in api.OPERATIONS}


READ_BY: dict[str, tuple[str, ...]] = {
    "/conversations/": lists.KNOWN,
    "/conversations/{id}/messages/": messages.KNOWN,
    "/changes/": changes.KNOWN,
    "/admin/rejections/": rejections.KNOWN,
    "/admin/audit/": overview.KNOWN_OF_AUDIT,
    "/admin/replays/": ("limit", "cursor"),
    "/admin/erasures/": ("limit", "cursor"),
}


@pytest.mark.parametrize("path", READ_BY)
def test_the_parameters_are_those_that_are_read(path: str) -> None:
    described = [each["name"] for each in DOCUMENT["paths"][path]["get"]["parameters"] if each["in"] == "query"]
    assert sorted(described) == sorted(READ_BY[path])


def test_the_api_s_page_asks_for_this_document_by_a_relative_path() -> None:
    [asked] = re.findall(r"new URL\('(.+?)'", (PAGE_SOURCES / "docs.js").read_text())
    assert (
        urljoin("https://realmate.example/prefix/docs/", asked) == "https://realmate.example/prefix/admin/openapi.json"
    )
    [server] = DOCUMENT["servers"]
    begins = urljoin("https://realmate.example/prefix/admin/openapi.json", server["url"])
    assert begins == "https://realmate.example/prefix/"


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not built: make console")
def test_the_api_s_page_is_built_with_all_that_it_needs() -> None:
    built = {each.name for each in (PAGE / "docs").iterdir()}
    assert {each.name for each in PAGE_SOURCES.iterdir()} <= built
    assert set(re.findall(r'(?:href|src)="([\w.-]+)"', (PAGE / "docs" / "docs.html").read_text())) <= built
    style = (PAGE / "docs" / "swagger-ui.css").read_text()
    assert "url(data:" not in style
    assert set(re.findall(r"url\((picture-[\w.-]+)\)", style)) <= built


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
