"""Sessions of nameko-sqlalchemy, for questions whose text depends on what somebody asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from realmate.runtime.config import settings_of
from realmate.runtime.database import WRITER_SESSION, Engine

CONNECTIONS = 8


class Console:
    """Stands where nameko-sqlalchemy expects a declarative base: it is asked for its name alone."""


class Sessions(Engine):
    """Injects a function that opens one: `with open_session() as session: …` commits, or rolls back, and closes.

    A session belongs to its block and not to its worker, which jobs outlive. (Nameko-sqlalchemy's wrapper closes all
    that a worker opened, and so would roll back under a job that still uses one: that stopped the whole process.)
    """

    def __init__(self) -> None:
        super().__init__(Console)

    def setup(self) -> None:
        settings = settings_of(self.container)
        timeout_ms = str(int(settings.command_timeout_s * 1000))
        self.open(
            settings.writer_database,
            WRITER_SESSION,  # it erases, and so writes changes as conversations does
            session={"statement_timeout": timeout_ms, "idle_in_transaction_session_timeout": timeout_ms},
            pool_size=CONNECTIONS,
            pool_pre_ping=True,
        )

    def get_dependency(self, worker_ctx: Any) -> Callable[[], Any]:  # noqa: ARG002 (Nameko's signature)
        return partial(self.Session, close_on_exit=True)
