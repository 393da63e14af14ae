"""The check whether the database lets a service do its work.

Readiness calls it, and it explains in words what is missing.

It does a small piece of the real work. A service that writes inserts a row and takes it back, so a standby, a missing
right and a full disk are found before an event finds them.
"""

from __future__ import annotations

import uuid

from realmate.runtime.database_errors import READ_ONLY, DatabaseUnavailable, StatementFailed
from realmate.runtime.health import NotReady
from realmate.runtime.postgres import wrong_encoding
from realmate.runtime.transaction import Statement, Transactions

SCHEMA_REVISION = "0018"
"""The newest of `migrations/versions`: what this version's statements need. Revisions are numbered in their order."""

READ_TABLES = ("changes", "conversations", "feed", "messages", "sources")
WRITTEN_TABLES = (
    "applied_batches",
    "changes",
    "conversations",
    "erasures",
    "feed",
    "idempotency_keys",
    "messages",
    "rejections",
    "reply_calls",
)

_FACTS = Statement(
    "readiness_facts",
    (),
    "SELECT current_setting('server_encoding'), pg_is_in_recovery(), to_regclass('alembic_version') IS NOT NULL",
)
_REVISION = Statement("readiness_revision", (), "SELECT version_num FROM alembic_version")
_MISSING_RIGHTS = Statement(
    "readiness_rights",
    ("text[]", "text[]"),
    "SELECT needed.name, needed.privilege FROM unnest($1, $2) AS needed (name, privilege)"
    " WHERE NOT has_table_privilege(needed.name, needed.privilege)",
)
_WRITE = Statement(
    "readiness_write", ("text",), "INSERT INTO applied_batches (id, verdicts) VALUES ($1, '') RETURNING id"
)


def look(db: Transactions, *, read_only: bool) -> bool:
    """Raise NotReady, or what an outage raises. Whether the server is a standby, which a reader may be served by."""
    [(encoding, is_standby, has_revision)] = db.fetch(_FACTS)
    if wrong := wrong_encoding(encoding):
        raise NotReady(wrong)
    revision = db.fetch(_REVISION) if has_revision else []
    if not revision or revision[0][0] < SCHEMA_REVISION:
        raise NotReady("not migrated: run `realmate migrate`")
    rights = _rights(read_only=read_only)
    missing = db.fetch(_MISSING_RIGHTS, [name for name, _ in rights], [right for _, right in rights])
    if missing:
        raise NotReady("the role lacks rights: " + ", ".join(f"{right} on {name}" for name, right in missing))
    if not read_only:
        _write(db)
    return bool(is_standby)


def _rights(*, read_only: bool) -> list[tuple[str, str]]:
    rights = [(name, "SELECT") for name in READ_TABLES]
    if not read_only:
        rights += [("sources", "INSERT")]
        rights += [(name, right) for name in WRITTEN_TABLES for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    return rights


def _write(db: Transactions) -> None:
    """Write a row in a transaction that is not committed."""
    try:
        with db.begin() as transaction:
            transaction.fetch(_WRITE, f"readiness-{uuid.uuid4()}")
    except DatabaseUnavailable as error:
        if error.code == READ_ONLY:
            raise NotReady("the database is read only: a standby, or a primary that was made so") from None
        raise NotReady(f"the database rejects to write ({error.code})") from None
    except StatementFailed as error:
        raise NotReady(f"the database rejects to write ({error.code})") from None
