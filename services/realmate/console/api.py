"""The document of the whole API (OpenAPI 3.1), as `GET /admin/openapi.json` shows it and `/docs/` renders it.

Each call of the console is described beside the code that answers it. Here it gets what all of them have in common.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from realmate.console import endpoint_api, erasures, exporting, overview, rejections, replays, sign_in, sources
from realmate.console.calls import InvalidBody
from realmate.http_server.readers import COOKIES, token_rejections
from realmate.query import api as query_api
from realmate.query.parameters import INVALID_QUERY
from realmate.wire.openapi import Operation, Parameter, Success, document
from realmate.wire.responses import Response, problem, unavailable

FAILED = problem(500, "internal_error", "This went wrong here; the log has the request's id.")
CANNOT = unavailable("The database does not answer now; ask again.")
_FROM_THE_PAGE = Parameter(
    sign_in.OWN_HEADER,
    {"type": "string", "minLength": 1, "examples": ["1"]},
    "It is needed where no Authorization header is. An `Origin` must be ours then.",
    place="header",
)
_DESCRIBE = Operation(
    "GET",
    "/admin/openapi.json",
    "describe_all",
    "Get this document",
    (Success(200, "The document of the whole API.", {"type": "object"}),),
    (),
    tag="operations",
)
_DESCRIBED = (
    *rejections.OPERATIONS,
    *replays.OPERATIONS,
    *sources.OPERATIONS,
    *endpoint_api.OPERATIONS,
    *overview.OPERATIONS,
    *erasures.OPERATIONS,
    exporting.OPERATION,
    _DESCRIBE,
    *sign_in.OPERATIONS,
)


def _whole(operation: Operation) -> Operation:
    """Return the description together with the problems and the header that calls of its kind have."""
    parameters = operation.parameters
    if operation.method != "GET":
        parameters = (*parameters, _FROM_THE_PAGE)
    problems = (*operation.problems, *_problems(operation))
    return operation._replace(parameters=parameters, problems=problems)


def _problems(operation: Operation) -> Iterator[Response]:
    yield from (sign_in.TOKENS_NEEDED, FAILED, CANNOT)
    if operation.scope is not None:
        rejected = token_rejections("read" if operation.scope == "any" else operation.scope)
        yield from (each for each in rejected if operation.scope != "any" or each.status != 403)  # noqa: PLR2004
    if operation.method != "GET":
        yield sign_in.NOT_FROM_THE_PAGE
    if operation.body is not None:
        yield InvalidBody("must be a UUID", "conversation").response
    if any(each.place == "query" for each in operation.parameters):
        yield INVALID_QUERY


OPERATIONS = tuple(_whole(each) for each in _DESCRIBED)
DOCUMENT = msgspec.json.format(
    msgspec.json.encode(
        document(
            query_api.INFO,
            (*query_api.OPERATIONS, *OPERATIONS),
            query_api.EVERYWHERE,
            server="..",
            cookies=COOKIES,
        )
    ),
    indent=1,
)
