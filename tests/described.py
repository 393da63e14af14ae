"""What docs/openapi.json says of an answer: each is held against it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "docs" / "openapi.json").read_text())
HEADERS = (
    *("allow", "content-disposition", "etag", "link", "location", "ratelimit", "retry-after", "set-cookie"),
    "www-authenticate",
)


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: object) -> None:
    """Raise AssertionError if an operation of the API may not answer so. What is no operation is not looked at."""
    given = {name.lower(): value for name, value in headers.items()}
    found = _operation(method, path)
    if found is None or (status, _code(body)) == (404, "not_found"):  # a path that no route has, or an id with a slash
        return
    template, operation = found
    here = f"{method} {template} -> {status}"
    assert str(status) in operation["responses"], f"{here} is not described"
    response = response_of(operation, str(status))
    content = response.get("content", {})
    if not content:
        assert not body, f"{here} has no body"
        return
    media_type = given.get("content-type", "").partition(";")[0]
    assert media_type in content, f"{here} is not described as {media_type}"
    if media_type.endswith("json") and method != "HEAD":
        errors = [
            error.message for error in _validator(template, method.lower(), str(status), media_type).iter_errors(body)
        ]
        assert not errors, f"{here}: {errors}"
    described = {name.lower() for name in response.get("headers", {})}
    for name in HEADERS:
        assert name not in given or name in described, f"{here} is described without {name}"


def response_of(operation: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return what an operation says of a status. Many operations share some of it."""
    response: dict[str, Any] = operation["responses"][status]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return what checks values against a schema of the document. Members that it does not name are errors."""
    return Draft202012Validator({**schema, "components": _exact_components()}, format_checker=FormatChecker())


@cache
def _exact_components() -> dict[str, Any]:
    """Return the components as the service is to keep to them: it adds nothing, but to problems, that they do not name.

    (Whoever reads an answer must bear members that are new, so the document itself does not forbid them.)
    """
    schemas = {
        name: schema if name == "Problem" else {"additionalProperties": False, **schema}
        for name, schema in DOCUMENT["components"]["schemas"].items()
    }
    return {**DOCUMENT["components"], "schemas": schemas}


def _code(body: object) -> object:
    return body.get("code") if isinstance(body, dict) else None


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    templates = sorted(DOCUMENT["paths"], key=lambda template: template.count("{"))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(each.rstrip("/"))) + "/?"), each) for each in templates]


def _operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    for pattern, template in _patterns():
        if pattern.fullmatch(path.partition("?")[0]):
            operation = DOCUMENT["paths"][template].get("get" if method == "HEAD" else method.lower())
            return operation and (template, operation)
    return None


@cache
def _validator(template: str, method: str, status: str, media_type: str) -> Draft202012Validator:
    response = response_of(DOCUMENT["paths"][template][method], status)
    return validator(response["content"][media_type]["schema"])
