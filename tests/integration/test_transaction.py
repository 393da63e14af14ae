"""Transactions on a real Postgres: what is committed, what never was, and what becomes of the connection."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from realmate.runtime.database_errors import DatabaseUnavailable, is_outage
from realmate.runtime.postgres import QUIET, connect, open_engine
from realmate.runtime.transaction import Overtaken, Statement, StatementFailed, Transactions

APPLIED = Statement("applied", (), "SELECT id FROM applied_batches ORDER BY id")
APPLY = Statement(
    "apply",
    ("json",),
    "INSERT INTO applied_batches (id, verdicts) SELECT id, '' FROM json_populate_recordset(NULL::applied_batches, $1)",
)
ADD = Statement("add", ("integer", "integer"), "SELECT $1 + $2")


@pytest.fixture(params=["logs nothing", "logs what fails"])
def engine(database_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One connection, so that each test sees what the one before it left behind; writes go out in both ways."""
    if request.param == "logs what fails":
        monkeypatch.setitem(QUIET, "log_min_error_statement", "error")
    engine = open_engine(database_url, "realmate-test", pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def db(engine: Engine) -> Transactions:
    return Transactions(engine)


def rows(*ids: str) -> str:
    return json.dumps([{"id": each} for each in ids])


def apply(db: Transactions, *batches: str) -> None:
    """Each in a statement of its own, all in one transaction."""
    with db.begin() as transaction:
        for batch in batches:
            transaction.add(APPLY, rows(batch))
        transaction.commit()


def change_ones_mind(db: Transactions) -> None:
    with db.begin() as transaction:
        transaction.add(APPLY, rows("a"))
        transaction.fetch(ADD, 1, 2)
        raise KeyError


def test_what_is_added_goes_out_with_the_commit(db: Transactions) -> None:
    apply(db, "a", "b")
    assert db.fetch(APPLIED) == [("a",), ("b",)]


def test_a_fetch_sees_what_was_added_before_it(db: Transactions) -> None:
    with db.begin() as transaction:
        transaction.add(APPLY, rows("a"))
        assert transaction.fetch(APPLIED) == [("a",)]


def test_without_a_commit_it_never_was(db: Transactions) -> None:
    with db.begin() as transaction:
        transaction.add(APPLY, rows("a"))
        transaction.fetch(ADD, 1, 2)
    assert db.fetch(APPLIED) == []


def test_what_failed_halfway_never_was(db: Transactions) -> None:
    with pytest.raises(KeyError):
        change_ones_mind(db)
    assert db.fetch(APPLIED) == []


def test_who_comes_second_is_overtaken_and_nothing_of_it_stays(db: Transactions) -> None:
    apply(db, "taken")
    with pytest.raises(Overtaken):
        apply(db, "new", "taken")
    assert db.fetch(APPLIED) == [("taken",)], "on the same connection, which can still be used"


def test_what_postgres_rejects_does_not_repeat_the_values(db: Transactions) -> None:
    with pytest.raises(StatementFailed, match=r"^22P02: ") as rejected, db.begin() as transaction:
        transaction.fetch(APPLY, '[{"id": a secret}]')
    assert "secret" not in str(rejected.value)
    assert rejected.value.__suppress_context__, "nor does a traceback show them"
    assert db.fetch(ADD, 1, 2) == [(3,)]


def test_a_lost_connection_is_an_outage_and_another_takes_its_place(db: Transactions, database_url: str) -> None:
    with db.begin() as transaction:
        [(pid,)] = transaction.fetch(Statement("pid", (), "SELECT pg_backend_pid()"))
    other = connect(database_url, "realmate-test")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    other.close()
    with pytest.raises(DatabaseUnavailable) as lost:
        db.fetch(ADD, 1, 2)
    assert is_outage(lost.value)
    assert db.fetch(ADD, 1, 2) == [(3,)], "prepared anew on the new connection"


def test_a_statement_is_prepared_once_a_connection(db: Transactions) -> None:
    prepared = Statement("prepared", (), "SELECT name FROM pg_prepared_statements ORDER BY name")
    for _ in range(3):
        db.fetch(ADD, 1, 2)
    assert db.fetch(prepared) == [("add",), ("prepared",)]


def test_text_of_any_kind_arrives_as_it_was_sent(db: Transactions) -> None:
    name = f"'; -- \\ %s $1 {{}} \N{GRINNING FACE} {uuid.uuid4()}"
    apply(db, name)
    assert db.fetch(APPLIED) == [(name,)]


def test_what_was_tried_out_never_was_and_fails_as_the_commit_would(db: Transactions) -> None:
    with db.begin() as transaction:
        transaction.add(APPLY, rows("a"))
        transaction.try_out()
    assert db.fetch(APPLIED) == []
    apply(db, "a")
    with db.begin() as transaction:
        transaction.add(APPLY, rows("a"))
        with pytest.raises(Overtaken):
            transaction.try_out()
    with db.begin() as transaction:
        transaction.add(APPLY, '[{"id": a secret}]')
        with pytest.raises(StatementFailed, match=r"^22P0\d: "):
            transaction.commit()


def test_a_connection_is_made_anew_when_it_is_old(database_url: str) -> None:
    """So an address that has moved is found even where nothing fails at the old one."""
    pid = Statement("pid", (), "SELECT pg_backend_pid()")
    engine = open_engine(database_url, "realmate-test", pool_size=1, pool_recycle=1, isolation_level="AUTOCOMMIT")
    db = Transactions(engine)
    first = db.fetch(pid)
    assert db.fetch(pid) == first
    time.sleep(1.1)
    assert db.fetch(pid) != first
    engine.dispose()
