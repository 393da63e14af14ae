"""The WSGI application of the console: its routes, and who may call each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as WsgiResponse

from realmate.console import (
    deliveries,
    endpoints,
    erasures,
    exporting,
    jobs,
    overview,
    pages,
    rejections,
    replays,
    sign_in,
    sources,
)
from realmate.console.api import CANNOT, DOCUMENT, FAILED
from realmate.console.calls import Audit, Call, InvalidBody, Resources, Route, answered, record
from realmate.http_server.readers import readers
from realmate.query.parameters import InvalidQuery
from realmate.runtime.database import is_outage
from realmate.runtime.settings import Settings
from realmate.sources.tokens import Holder, TokenRejected
from realmate.wire.responses import Response, problem

API = (
    Route("GET", "/admin/rejections/", "operate", rejections.list_rejections),
    Route("GET", "/admin/rejections/codes/", "operate", rejections.list_codes),
    Route("GET", "/admin/rejections/<int:number>/", "operate", rejections.show_rejection),
    Route("POST", "/admin/replays/", "operate", replays.create),
    Route("GET", "/admin/replays/", "operate", replays.list_replays),
    Route("GET", "/admin/replays/<job_id>/", "operate", partial(jobs.show, replays.KIND)),
    Route("DELETE", "/admin/replays/<job_id>/", "operate", partial(jobs.stop, replays.KIND)),
    Route("GET", "/admin/sources/", "operate", sources.list_sources),
    Route("POST", "/admin/sources/<name>/verify", "operate", sources.verify),
    Route("GET", "/admin/endpoints/", "operate", endpoints.list_endpoints),
    Route("GET", "/admin/endpoints/<name>/deliveries/", "operate", deliveries.list_deliveries),
    Route("POST", "/admin/endpoints/<name>/deliveries/<int:number>/retry", "operate", deliveries.retry),
    Route("POST", "/admin/endpoints/<name>/pause", "operate", endpoints.pause_endpoint),
    Route("POST", "/admin/endpoints/<name>/resume", "operate", endpoints.resume_endpoint),
    Route("POST", "/admin/endpoints/<name>/test", "operate", endpoints.try_endpoint),
    Route("GET", "/admin/overview", "operate", overview.show_overview),
    Route("POST", "/admin/erasures/", "admin", erasures.create),
    Route("GET", "/admin/erasures/", "admin", erasures.list_erasures),
    Route("GET", "/admin/erasures/<job_id>/", "admin", partial(jobs.show, erasures.KIND)),
    Route("DELETE", "/admin/erasures/<job_id>/", "admin", partial(jobs.stop, erasures.KIND)),
    Route("GET", "/admin/conversations/<source>/<conversation>/export", "admin", exporting.export),
    Route("GET", "/admin/audit/", "admin", overview.list_audit),
)
"""The calls, and the scope that each needs. A token with `sources` sees its own alone."""

PAGES: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    ("/console/", "", {"path": "index.html"}),
    ("/console/<path:path>", "", None),
    ("/docs/", "docs/", {"path": "docs.html"}),
    ("/docs/<path:path>", "docs/", None),
)
"""The page, and the API's page: paths, where their files are, and the file that the path itself means."""

log = structlog.get_logger(__name__)


class Application:
    """One request after another; nothing of one is kept for the next but the tries to sign in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tries = sign_in.Tries()
        own = (
            Route("GET", "/admin/openapi.json", None, self._describe),
            Route("GET", "/console/session", None, self._show_session),
            Route("POST", "/console/session", None, self._sign_in),
            Route("DELETE", "/console/session", None, self._sign_out),
        )
        self.routes = (*API, *own)
        self._map = Map(
            [Rule(route.path, methods=[route.method], endpoint=route) for route in self.routes]
            + [Rule(path, methods=["GET"], endpoint=folder, defaults=given) for path, folder, given in PAGES],
            redirect_defaults=False,
        )

    def respond(self, environ: dict[str, Any], lent: Resources) -> WsgiResponse:
        request = Request(environ)
        rejection = sign_in.closed_to(request, self._settings.host)
        if rejection is not None:
            return _wsgi(rejection)
        try:
            endpoint, values = self._map.bind_to_environ(environ).match()
        except HTTPException as error:
            return _unrouted(error, request)
        if isinstance(endpoint, str):
            return pages.serve(request, endpoint + values["path"])
        return _wsgi(self._call(request, endpoint, values, lent))

    def _call(self, request: Request, route: Route, values: Mapping[str, Any], lent: Resources) -> Response:
        holder: Holder | Response = (
            NOBODY if route.scope is None else readers.admit_headers(request.environ["realmate.headers"], route.scope)
        )
        if isinstance(holder, Response):
            return holder
        if (forged := sign_in.forgery(request)) is not None:
            return forged
        call = Call(request, holder, lent)
        try:
            return route.answer(call, **values)
        except (InvalidQuery, InvalidBody) as error:
            return error.response
        except Exception as error:
            if is_outage(error):
                log.warning("cannot answer", path=request.path, reason=str(error).partition("\n")[0])
                return CANNOT
            log.exception("a call failed", path=request.path, request_id=request.environ["realmate.request_id"])
            return FAILED

    def _describe(self, _call: Call) -> Response:
        return Response(200, DOCUMENT)

    def _show_session(self, call: Call) -> Response:
        holder = readers.identify(call.request.environ["realmate.headers"])
        return holder if isinstance(holder, Response) else answered(sign_in.shown(holder))

    def _sign_in(self, call: Call) -> Response:
        if retry_after_s := self._tries.retry_after_s(call.address):
            return sign_in.too_many_tries(retry_after_s)
        token = call.body(sign_in.SignIn).token.strip()
        try:
            holder = readers.holder_of(token)
        except TokenRejected:
            with call.session() as session:
                record(session, call, Audit("session.begin", outcome="token_invalid"))
            return sign_in.TOKEN_UNKNOWN
        cookie = sign_in.cookie_of(call.request, token)
        if cookie is None:
            return sign_in.TLS_NEEDED
        with call.session() as session:
            record(session, replace(call, holder=holder), Audit("session.begin"))
        return answered(sign_in.shown(holder), headers=(("Set-Cookie", cookie),))

    def _sign_out(self, _call: Call) -> Response:
        return Response(204, b"", headers=tuple(("Set-Cookie", cookie) for cookie in sign_in.cookies_out()))


NOBODY = Holder("nobody", frozenset())


def _unrouted(error: HTTPException, request: Request) -> WsgiResponse:
    """Answer what is no route: a redirect to the form with a slash, a method that is not there, or nothing."""
    location = getattr(error, "new_url", None)
    if location is not None and request.method in ("GET", "HEAD"):
        return redirect(request.path.rpartition("/")[2] + "/", 308)  # relative: a prefix may stand before it
    if isinstance(error, MethodNotAllowed):
        allow = ", ".join(sorted(error.valid_methods or ()))
        return _wsgi(problem(405, "method_not_allowed", f"Allowed here: {allow}.", headers=(("Allow", allow),)))
    return _wsgi(problem(404, "not_found", "There is nothing at this path."))


def _wsgi(response: Response) -> WsgiResponse:
    return WsgiResponse(
        response.body,
        response.status,
        [*response.headers, ("X-Content-Type-Options", "nosniff")],
        content_type=response.content_type if response.body else None,
    )
