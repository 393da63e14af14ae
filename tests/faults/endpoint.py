"""The drill's endpoint: its section in the file of sources, and how far its deliveries are."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg2

from signatures import SECRET

NAME = "crm"
TIMEOUT_S = 2
SCHEDULE_S = [0.2, 0.5, 1, 2, *[5] * 46]
"""An endpoint has the most attempts that it may have, so that nothing is given up during a drill."""
COMMAND_TIMEOUT_S = 60.0

_UNSENT = """
    SELECT paused_at IS NOT NULL,
        (SELECT count(*) FROM deliveries) + greatest(0, (SELECT position FROM feed) - endpoint_cursors.position)
    FROM endpoints JOIN endpoint_cursors ON endpoint_id = id WHERE ended_at IS NULL
"""


def section(port: int, sources: tuple[str, ...]) -> str:
    return f"""
[endpoints.{NAME}]
url = "http://127.0.0.1:{port}/hook"
secrets = [{{ value = "{SECRET}" }}]
allow_private = true
sources = {list(sources)}
timeout_s = {TIMEOUT_S}
schedule = {SCHEDULE_S}
"""


def resume(database_url: str, sources_file: Path) -> None:
    """Resume it as a person does."""
    environment = os.environ | {"DATABASE_URL": database_url, "SOURCES_FILE": str(sources_file)}
    environment.pop("LD_PRELOAD", None)
    subprocess.run(
        [sys.executable, "-m", "realmate", "endpoints", "resume", NAME],
        env=environment,
        check=True,
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
    )


def state(database_url: str) -> tuple[bool, int] | None:
    """Return whether it is paused, and how many changes and deliveries wait; None: it has not begun, or who knows."""
    try:
        connection = psycopg2.connect(database_url, connect_timeout=2, options="-c statement_timeout=5000")
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(_UNSENT)
            return cursor.fetchone()
    except psycopg2.OperationalError:
        return None
