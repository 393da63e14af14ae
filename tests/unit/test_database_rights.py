"""The list of what each database role may do names every table that the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

from realmate import migrations
from realmate.migrations.roles import RIGHTS

VERSIONS = Path(migrations.__path__[0]) / "versions"


def test_every_table_of_the_migrations_has_its_rights() -> None:
    """A table that is missing here is one that the services may not use: add it to migrations/roles.py."""
    made = {
        name
        for path in VERSIONS.glob("0*.py")
        for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", path.read_text())
    }
    assert made | {"alembic_version"} == RIGHTS.keys()


def test_the_reader_sees_neither_what_was_rejected_nor_keys() -> None:
    seen = {table for table, rights in RIGHTS.items() if rights.reader}
    assert seen == {"alembic_version", "changes", "conversations", "feed", "messages", "sources"}
    assert {rights.reader for rights in RIGHTS.values()} == {"", "SELECT"}
