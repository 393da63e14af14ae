"""Sessions of nameko-sqlalchemy, for questions whose text depends on what somebody asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import nameko_sqlalchemy
from nameko_sqlalchemy import DB_URIS_KEY

from realmate.runtime.config import settings_of
from realmate.runtime.database import WRITER_NAME
from realmate.runtime.database_readiness import SCHEMA_REVISION
from realmate.runtime.postgres import engine_options

CONNECTIONS = 8


class Console:
    """Stands where nameko-sqlalchemy expects a declarative base: it is asked for its name alone."""


class Sessions(nameko_sqlalchemy.Database):
    """Injects a function that opens one: `with open_session() as session: …` commits, or rolls back, and closes.

    A session belongs to its block and not to its worker, which jobs outlive. (Nameko-sqlalchemy's wrapper closes all
    that a worker opened, and so would roll back under a job that still uses one: that stopped the whole process.)
    """

    def __init__(self) -> None:
        super().__init__(Console)

    def setup(self) -> None:
        settings = settings_of(self.container)
        timeout_ms = str(int(settings.command_timeout_s * 1000))
        options = engine_options(
            settings.writer_database,
            f"{WRITER_NAME}/{SCHEMA_REVISION}",  # it erases, and so writes changes as conversations does
            session={"statement_timeout": timeout_ms, "idle_in_transaction_session_timeout": timeout_ms},
            network={"tcp_user_timeout": int(settings.command_timeout_s * 1000)},
        )
        uris = self.container.config.setdefault(DB_URIS_KEY, {})
        uris[f"{self.container.service_name}:{Console.__name__}"] = options.pop("url")
        self.engine_options = {
            **options,
            "pool_size": CONNECTIONS,
            "max_overflow": 0,
            "pool_timeout": settings.command_timeout_s,
            "pool_recycle": settings.database_max_age_s,
            "pool_pre_ping": True,
        }
        super().setup()

    def get_dependency(self, worker_ctx: Any) -> Callable[[], Any]:  # noqa: ARG002 (Nameko's signature)
        return partial(self.Session, close_on_exit=True)

    def worker_teardown(self, worker_ctx: Any) -> None:
        """Nothing to do: a session ends with its block."""

    def stop(self) -> None:
        if hasattr(self, "engine"):  # Nameko kills a dying service's extensions even after it has stopped them
            super().stop()

    kill = stop
