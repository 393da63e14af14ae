"""The console's service: signing in, and the API of operations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from nameko.extensions import DependencyProvider
from sqlalchemy import text

from realmate.console import erasures, replays
from realmate.console.application import Application
from realmate.console.calls import Resources
from realmate.console.database import Sessions
from realmate.console.hours import count_hours
from realmate.console.jobs import Worker
from realmate.console.sign_in import OWN_HEADER
from realmate.http_server import Request, http_batch, http_tree, wsgi
from realmate.runtime.background import Background
from realmate.runtime.config import ServiceSettings, settings_of
from realmate.runtime.database import Database
from realmate.runtime.endpoints import EndpointSettings
from realmate.runtime.sources import Sources
from realmate.runtime.timers import periodic
from realmate.wire.responses import Response

HEADERS = (*wsgi.HEADERS, OWN_HEADER.lower())
MOST_AT_WORK = 32
MOST_BODY_BYTES = 1_048_576
JOBS_AT_ONCE = 4
LOOK_PAUSE_S = 1.0
COUNT_PAUSE_S = 5.0
FORGET_PAUSE_S = 3600.0
KEPT_JOBS_DAYS = 30
TO_THE_PAGE = Response(302, b"", headers=(("Location", "console/"),))

_tree = partial(http_tree, most_at_work=MOST_AT_WORK, most_bytes=MOST_BODY_BYTES, headers=HEADERS)


class Web(DependencyProvider):
    """Injects the application, of which there is one a process."""

    def setup(self) -> None:
        self._application = Application(settings_of(self.container))

    def get_dependency(self, worker_ctx: Any) -> Application:  # noqa: ARG002 (Nameko's signature)
        return self._application


class ConsoleService:
    name = "console"

    db = Database(part="database of the console")
    open_session = Sessions()
    settings = ServiceSettings()
    sources = Sources()
    endpoints = EndpointSettings()
    background = Background()
    web = Web()

    @http_batch("GET", "/")
    def lead_to_the_page(self, requests: Sequence[Request]) -> list[Response]:
        return [TO_THE_PAGE] * len(requests)

    @_tree("/console/")
    @_tree("/docs/")
    @_tree("/admin/")
    def answer(self, request: Request) -> Response:
        lent = Resources(self.open_session, self.db, self.sources, self.endpoints, self.settings)
        return wsgi.respond(lambda environ, start: self.web.respond(environ, lent)(environ, start), request)

    @periodic(lambda _settings: LOOK_PAUSE_S)
    def work(self) -> None:
        """Take up the jobs that nobody works on."""
        works = {
            replays.KIND: partial(replays.work, self.open_session, self.sources, self.settings.webhook_url),
            erasures.KIND: partial(erasures.work, self.open_session, self.db),
        }
        worker = Worker(self.open_session, works)
        while self.background.running("jobs") < JOBS_AT_ONCE and (job := worker.lease()) is not None:
            self.background.run("jobs", partial(worker.run, job))

    @periodic(lambda _settings: COUNT_PAUSE_S)
    def count(self) -> None:
        count_hours(self.open_session)

    @periodic(lambda _settings: FORGET_PAUSE_S)
    def forget(self) -> None:
        """Forget what is too old of the audit, and the jobs that ended long ago."""
        with self.open_session() as session:
            session.execute(text("SELECT realmate_forget_audit()"))
            session.execute(
                text("DELETE FROM jobs WHERE finished_at < now() - make_interval(days => :days)"),
                {"days": KEPT_JOBS_DAYS},
            )
