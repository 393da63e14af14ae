"""Descriptions of the HTTP API, from which its OpenAPI 3.1 document is made.

Each operation is described beside the code that answers it. The problems of an operation are the responses themselves,
so their status, code and headers are what is really answered, and the body is an example.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from realmate.wire.responses import PROBLEM_JSON, FieldError, Response

Schema = Mapping[str, Any]

_REF = "#/components/schemas/{name}"
TOKEN = "token"  # noqa: S105 (the name of a security scheme)


class Problem(msgspec.Struct, omit_defaults=True):
    """An error, as RFC 9457 has it. Some codes have further members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """What a program looks at."""
    errors: tuple[FieldError, ...] = ()
    """The fields, parameters or headers that are wrong, where it is about those."""


class Parameter(NamedTuple):
    """A parameter of the query string, of the path (`place`), or a header."""

    name: str
    schema: Schema
    description: str
    place: str = "query"
    is_repeatable: bool = False


class Success(NamedTuple):
    """A response that is no problem."""

    status: int
    description: str
    type: Any = None
    """The type of the body; None: it has none."""
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    id: str
    summary: str
    successes: Sequence[Success]
    problems: Sequence[Response]
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Any = None
    is_for_tokens: bool = False
    """Whether it needs a token, where TOKENS_FILE is set."""


HEADERS: Mapping[str, str] = {
    "ETag": "The entity tag, for If-None-Match.",
    "Link": "The next page, as rel=next.",
    "Retry-After": "After how many seconds to ask again.",
    "Allow": "The methods of this path.",
    "WWW-Authenticate": "What proves the request.",
    "RateLimit": "What is left of the limit.",
    "RateLimit-Policy": "The limit.",
    "Accept-Encoding": "The encodings that are understood.",
}


def document(info: Schema, operations: Sequence[Operation], everywhere: Sequence[Response]) -> dict[str, Any]:
    """Return the document. `everywhere` are problems that any operation may answer."""
    types = [Problem, *_types(operations)]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation, everywhere)
    security = {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of TOKENS_FILE. Without it anyone may read.",
    }
    return {
        "openapi": "3.1.0",
        "info": dict(info),
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "examples": _examples([*everywhere, *(each for operation in operations for each in operation.problems)]),
            "securitySchemes": {TOKEN: security},
        },
    }


def _examples(problems: Iterable[Response]) -> dict[str, Any]:
    """Return one example for each status and code."""
    examples: dict[str, Any] = {}
    for each in problems:
        body = msgspec.json.decode(each.body)
        examples.setdefault(_name(body), {"value": body})
    return dict(sorted(examples.items()))


def _name(body: Mapping[str, Any]) -> str:
    return f"{body['status']}-{body['code']}"


def _types(operations: Iterable[Operation]) -> list[Any]:
    found = [each.type for operation in operations for each in operation.successes] + [each.body for each in operations]
    structs = [each for each in found if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    return list(dict.fromkeys(structs))


def _schema(of: Any) -> dict[str, Any]:
    if isinstance(of, Mapping):
        return dict(of)
    [schema], _ = msgspec.json.schema_components([of], ref_template=_REF)
    return schema


def _operation(operation: Operation, everywhere: Sequence[Response]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    if operation.description:
        made["description"] = operation.description
    if operation.parameters:
        made["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(operation.body)}}}
    if operation.is_for_tokens:
        made["security"] = [{TOKEN: []}, {}]
    responses = [
        _success(operation.successes, status) for status in sorted({each.status for each in operation.successes})
    ]
    problems = _by_status([*operation.problems, *everywhere])
    made["responses"] = dict([*responses, *problems])
    return made


def _parameter(each: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": dict(each.schema)} if each.is_repeatable else dict(each.schema)
    made: dict[str, Any] = {"name": each.name, "in": each.place, "description": each.description, "schema": schema}
    if each.is_repeatable:
        made |= {"style": "form", "explode": True}
    return made | ({"required": True} if each.place == "path" else {})


def _success(successes: Sequence[Success], status: int) -> tuple[str, dict[str, Any]]:
    of_it = [each for each in successes if each.status == status]
    made: dict[str, Any] = {"description": " Or: ".join(each.description for each in of_it)}
    if headers := {name for each in of_it for name in each.headers}:
        made["headers"] = _headers(headers)
    if content := {each.media_type: {"schema": _schema(each.type)} for each in of_it if each.type is not None}:
        made["content"] = content
    return str(status), made


def _by_status(problems: Sequence[Response]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (str(status), _problem([each for each in problems if each.status == status]))
        for status in sorted({each.status for each in problems})
    ]


def _problem(problems: Sequence[Response]) -> dict[str, Any]:
    bodies = [msgspec.json.decode(each.body) for each in problems]
    codes = {"type": "object", "properties": {"code": {"enum": sorted({body["code"] for body in bodies})}}}
    content = {
        "schema": {"allOf": [{"$ref": _REF.format(name="Problem")}, codes]},
        "examples": {
            name: {"$ref": f"#/components/examples/{name}"} for name in sorted({_name(body) for body in bodies})
        },
    }
    titles = " Or: ".join(sorted({f"{body['title']}." for body in bodies}))
    made: dict[str, Any] = {"description": titles, "content": {PROBLEM_JSON: content}}
    if headers := {name for each in problems for name, _ in each.headers}:
        made["headers"] = _headers(headers)
    return made


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in sorted(names)}
