"""Descriptions of the HTTP API, from which its OpenAPI 3.1 document is made.

Each operation is described beside the code that answers it. The problems of an operation are the responses themselves,
so their status, code and headers are what is really answered, and the body is an example.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from realmate.sources.tokens import Scope
from realmate.wire.responses import PROBLEM_JSON, FieldError, Response

Schema = Mapping[str, Any]

_REF = "#/components/schemas/{name}"
_TOKEN = "token"  # noqa: S105 (the name of a security scheme)
TAGS: Mapping[str, str] = {
    "sending": "A sender posts its events.",
    "reading": "A reader gets conversations and their changes.",
    "operations": "An operator looks at rejections, sources and endpoints, replays, erases and exports.",
    "signing in": "A browser keeps its token in a cookie that no script can read.",
}
"""The groups of operations, in the order in which a page shows them."""


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
    example: Any = None


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
    body_examples: Mapping[str, Any] = {}
    """Some bodies, by what each one asks for."""
    scope: Scope | Literal["any"] | None = None
    """The scope that a token needs, where TOKENS_FILE is set; `any`: each token will do; None: it needs no token."""
    tag: str = "reading"


HEADERS: Mapping[str, str] = {
    "ETag": "The entity tag, for If-None-Match.",
    "Link": "The next page, as rel=next.",
    "Retry-After": "After how many seconds to ask again.",
    "Allow": "The methods of this path.",
    "WWW-Authenticate": "What proves the request.",
    "RateLimit": "What is left of the limit.",
    "RateLimit-Policy": "The limit.",
    "Accept-Encoding": "The encodings that are understood.",
    "Location": "Where the job is that has begun.",
    "Content-Disposition": "The name under which a browser saves it.",
    "Set-Cookie": "The cookie that signs in, or the ones that sign out.",
}


def security_schemes(cookies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the ways to send a token: in a header, or in one of these cookies."""
    token = {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of TOKENS_FILE. Where that is not set, nobody needs one.",
    }
    told = "A browser that signed in (POST /console/session) sends this cookie by itself. No script can set it."
    return {_TOKEN: token} | {
        each: {"type": "apiKey", "in": "cookie", "name": each, "description": told} for each in cookies
    }


def document(
    info: Schema,
    operations: Sequence[Operation],
    everywhere: Sequence[Response],
    *,
    server: str,
    cookies: Sequence[str],
) -> dict[str, Any]:
    """Return the document. `everywhere` are problems that any operation may answer.

    `server` leads from where the document is shown to where the paths begin. It is relative, since a proxy may put a
    prefix before all paths. A reader's token may be in one of `cookies`.
    """
    types = [Problem, *_types(operations)]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation, everywhere, cookies)
    tags = {operation.tag for operation in operations}
    return {
        "openapi": "3.1.0",
        "info": dict(info),
        "servers": [{"url": server, "description": "The installation that shows this document."}],
        "tags": [{"name": name, "description": told} for name, told in TAGS.items() if name in tags],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "responses": dict(_by_status(everywhere)),
            "examples": _examples([*everywhere, *(each for operation in operations for each in operation.problems)]),
            "securitySchemes": security_schemes(cookies),
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


def _operation(operation: Operation, everywhere: Sequence[Response], cookies: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary, "tags": [operation.tag]}
    if description := " ".join(filter(None, (operation.description, _said_of_scope(operation)))):
        made["description"] = description
    if operation.parameters:
        made["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": _body(operation)}}
    if operation.scope is not None:
        scopes = [] if operation.scope == "any" else [operation.scope]
        made["security"] = [*({name: scopes} for name in (_TOKEN, *cookies)), {}]
    responses = [
        _success(operation.successes, status) for status in sorted({each.status for each in operation.successes})
    ]
    problems = _problems(operation.problems, everywhere)
    made["responses"] = dict([*responses, *problems])
    return made


def _said_of_scope(operation: Operation) -> str:
    if operation.scope is None:
        return ""
    return "It needs a token." if operation.scope == "any" else f"It needs the scope `{operation.scope}`."


def _body(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {"schema": _schema(operation.body)}
    if operation.body_examples:
        made["examples"] = {
            name.replace(" ", "_"): {"summary": name, "value": value} for name, value in operation.body_examples.items()
        }
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
    if content := {each.media_type: _content(each) for each in of_it if each.type is not None}:
        made["content"] = content
    return str(status), made


def _content(success: Success) -> dict[str, Any]:
    made = {"schema": _schema(success.type)}
    return made if success.example is None else made | {"example": msgspec.to_builtins(success.example)}


def _problems(own: Sequence[Response], everywhere: Sequence[Response]) -> list[tuple[str, dict[str, Any]]]:
    """Return the problems of an operation by their statuses. What only the server answers is described once for all."""
    statuses = {str(each.status) for each in own}
    found = dict(_by_status([*own, *everywhere]))
    return [
        (status, response if status in statuses else {"$ref": f"#/components/responses/{status}"})
        for status, response in found.items()
    ]


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
