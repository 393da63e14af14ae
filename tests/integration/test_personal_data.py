"""docs/personal-data.md, held against the database: every place is filled, something is erased, and all is dumped.

The dump is of every table that there is, so that a place that somebody adds cannot be forgotten.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg2
import pytest

from outbound import Outbound, endpoint
from realmate.conversations.sequencer import Sequencer, number
from realmate.conversations.upkeep import erase_outdated, forget_changes, forget_keys, forget_rejections
from realmate.domain.events import Verdict
from realmate.sources.model import Source
from realmate.sources.responders import Responder
from realmate.sources.signing import StandardWebhooks
from realmate.wire.commands import Command, Origin, RejectedCommand
from receivers import Answer, Receiver, receiving
from signatures import SECRET
from store import AGED, QUICK, Store, closing, open_store, opening, saying

DOCUMENTATION = Path(__file__).parents[2] / "docs/personal-data.md"
RESPONDER = Responder("https://replies.example/", StandardWebhooks([SECRET]))
NOT_OF_PEOPLE = {
    *("alembic_version", "applied_batches", "counted_changes", "endpoint_cursors", "endpoints", "erasures", "feed"),
    *("source_hours", "sources"),
}
OF_WHOEVER_OPERATES = {"audit", "jobs"}
"""These tell who exported or erased what, and go by their age alone."""
FOR_READERS = "changes"
"""This table keeps ids on purpose, so that readers learn of the erasure. It has a test of its own."""
DAY_S = 86_400

Dump = dict[str, set[str]]


@dataclass
class Person:
    """Somebody who writes as `source`: his conversation, one that never opens, and a word that is in all he writes."""

    source: str
    word: str
    conversation: str
    unopened: str

    @property
    def traces(self) -> list[str]:
        """What must not be found when he is erased, in lower case."""
        ids = [each for key in (self.conversation, self.unopened) for each in (key, key.replace("-", ""))]
        return [self.word.lower(), *ids]


def person(source: str = "shop") -> Person:
    return Person(source, f"Palavra{uuid4().hex[:12]}", str(uuid4()), str(uuid4()))


@dataclass
class Places:
    """One database, written to as the intake's commands are, with and without a responder for the replies."""

    url: str
    plain: Store
    asking: Store
    outbound: Outbound
    receiver: Receiver

    def fill(self, who: Person) -> None:
        """Write to every place, about both of his conversations."""
        say = [saying(who.conversation, f"{who.word} {number}", source=who.source) for number in range(3)]
        commands: list[Command] = [opening(who.conversation, who.source), *say[:2]]
        for command in (*commands, opening(who.conversation, who.source)):
            self.plain.apply(keyed(command, f"key {who.word}"))
        time.sleep(0.4)
        self.plain.sweep()  # writes the reply
        taken = msgspec.structs.replace(say[0], content=f"{who.word} under an id that is taken")
        assert self.plain.apply(taken) == [Verdict.MESSAGE_CONFLICT]
        self.asking.apply(say[2], closing(who.conversation, who.source))  # leaves a call for the last reply
        self.asking.apply(keyed(closing(who.conversation, who.source), f"again {who.word}"))
        early = saying(who.unopened, f"{who.word} too early", source=who.source)
        assert self.plain.apply(keyed(early, f"early {who.word}")) == [Verdict.HELD]
        time.sleep(0.5)
        self.plain.sweep()  # lets it expire
        assert self.plain.apply(early) == [Verdict.HOLD_EXPIRED]
        self.plain.apply(*(rejected(who, body, number) for number, body in enumerate(bodies(who, say[0].message_id))))
        self.tell(who)

    def tell(self, who: Person) -> None:
        """Make deliveries of all that happened, and let each first attempt fail with an answer about him."""
        self.outbound.follow()
        self.receiver.answer = lambda _: Answer(400, f"I know {who.word} of {who.conversation}".encode())
        self.outbound.send()

    def dump(self) -> Dump:
        """Every row of every table, as text, in lower case."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET bytea_output = 'escape'")
            cursor.execute(
                "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables"
                " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
            )
            return {name.removeprefix("public."): _rows(cursor, name) for (name,) in cursor.fetchall()}

    def realmate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "realmate", *arguments],
            env=os.environ | {"DATABASE_URL": self.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _rows(cursor: psycopg2.extensions.cursor, table: str) -> set[str]:
    copied = io.StringIO()
    cursor.copy_expert(f"COPY {table} TO STDOUT", copied)
    return set(copied.getvalue().lower().splitlines())


def keyed(command: Command, key: str) -> Command:
    digest = blake2b(repr(command).encode(), digest_size=16).digest()
    return msgspec.structs.replace(command, origin=Origin(command.origin.source, f"{key} {digest.hex()}", digest))


def bodies(who: Person, message: str) -> list[bytes]:
    """What an intake rejects, and what names his conversations in every way that it may be spelled."""
    key, bare = who.conversation, who.conversation.replace("-", "")
    escaped = "".join(f"\\u{ord(character):04X}" for character in key)
    event = f'{{"type": "NEW_MESSAGE", "timestamp": "x", "data": {{"id": "{message}", "conversation_id": "%s",'
    event += f' "content": "{who.word}"}}}}'
    return [
        *((event % spelled).encode() for spelled in (key, key.upper(), bare, f"{{{key}}}", f"urn:uuid:{key}", escaped)),
        *(f'{{"type": "{kind}", "data": {{"id": "{key}", "x": "{who.word}"}}}}'.encode() for kind in OTHERS),
        (event % key).encode()[:-2],  # cut off
        (event % escaped).encode()[:-2],
        (event % key.upper()).encode("utf-16"),
        b"\xff\xfe" + (event % bare.upper()).encode(),
        f'["{who.word}", 1e999, {{"deep": "{key}"}}]'.encode(),
        f'{{"type": "NEW_MESSAGE", "data": {{"id": "{message}", "content": "{who.word}"}}}}'.encode(),
        f'{{"data": {{"conversation_id": "{who.unopened}", "content": "{who.word}", "id": []}}}}'.encode(),
        f"{who.word} wrote in {who.unopened}".encode(),
    ]


OTHERS = ("NEW_CONVERSATION", "CLOSE_CONVERSATION", "NO_SUCH_TYPE")


def rejected(who: Person, body: bytes, number: int) -> RejectedCommand:
    code = ("too_many_events", "invalid_event", "invalid_json")[number % 3]
    digest = blake2b(body, digest_size=16).digest()
    return RejectedCommand(f"request-{number}", code, "", body, Origin(who.source, f"bad {who.word} {number}", digest))


@pytest.fixture
def places(database_url: str) -> Iterator[Places]:
    shops = {name: Source(name, responder=RESPONDER) for name in ("shop", "store")}
    with (
        open_store(database_url, QUICK) as plain,
        open_store(database_url, QUICK, shops) as asking,
        receiving() as receiver,
    ):
        Sequencer().look(plain.db)
        outbound = Outbound(plain)
        outbound.name(endpoint(receiver, schedule_s=(3600.0,)))
        yield Places(database_url, plain, asking, outbound, receiver)


def found(traces: list[str], dump: Dump) -> list[str]:
    """Rows with any of the traces, but for FOR_READERS; zero bytes do not hide them."""
    rows = [f"{table}: {row}" for table, rows in dump.items() if table != FOR_READERS for row in rows]
    return [row for row in rows if any(trace in row.replace("\\\\000", "") for trace in traces)]


def people_s(dump: Dump) -> Dump:
    return {
        table: rows for table, rows in dump.items() if table not in {*NOT_OF_PEOPLE, *OF_WHOEVER_OPERATES, FOR_READERS}
    }


def test_every_place_is_filled_and_in_the_documentation(places: Places) -> None:
    who = person()
    places.fill(who)
    dump = places.dump()
    assert all(rows for rows in people_s(dump).values()), "a table is new: fill it here, and erase it"
    assert {row.partition(":")[0] for row in found(who.traces, dump)} == set(people_s(dump))
    documented = DOCUMENTATION.read_text()
    assert all(f"`{table}`" in documented for table in dump)


def test_an_erased_conversation_leaves_no_trace_and_its_neighbour_whole(places: Places) -> None:
    neighbour, elsewhere, who = person(), person("store"), person()
    for each in (neighbour, elsewhere):
        places.fill(each)
    before = people_s(places.dump())
    places.fill(who)
    for key in (who.conversation, who.unopened):
        done = places.realmate("erase", "conversation", key, "--source", "shop", "--yes")
        assert (done.returncode, done.stderr) == (0, "")
    after = places.dump()
    assert found(who.traces, after) == []
    assert people_s(after) == before
    history = places.realmate("erase", "history").stdout.lower()
    assert not any(trace in history for trace in who.traces)


def test_an_erased_source_leaves_no_trace_and_the_other_whole(places: Places) -> None:
    elsewhere, people = person("store"), [person(), person()]
    places.fill(elsewhere)
    before = people_s(places.dump())
    for who in people:
        places.fill(who)
    assert places.realmate("erase", "source", "shop", "--yes").returncode == 0
    after = places.dump()
    assert [row for who in people for row in found(who.traces, after)] == []
    assert people_s(after) == before


@pytest.mark.parametrize("named", [True, False])
def test_what_is_kept_long_enough_leaves_no_trace(places: Places, *, named: bool) -> None:
    """Of a source with a retention of its own, and of one that the file does not name."""
    old, young = person(), person()
    places.fill(old)
    places.plain.execute(AGED.format(days=2))
    places.plain.execute("UPDATE rejections SET at = at - interval '2 days'")
    places.plain.execute("UPDATE idempotency_keys SET first_at = first_at - interval '2 days'")
    before = people_s(places.dump())
    places.fill(young)
    both = people_s(places.dump())
    sources = {"shop": Source("shop", retention_s=DAY_S)} if named else {}
    retention_s = None if named else DAY_S
    for forget in (erase_outdated, forget_rejections):
        forget(places.plain.db, sources, retention_s)
    forget_keys(places.plain.db)
    after = places.dump()
    assert found(old.traces, after) == []
    assert people_s(after) == {table: rows - before[table] for table, rows in both.items()}


def test_what_never_opened_is_kept_as_long_as_what_was_rejected(places: Places) -> None:
    """Without any retention, of whatever source, also where a version before wrote no moment."""
    who = person()
    places.fill(who)
    places.plain.execute("UPDATE conversations SET settled_at = NULL, updated_at = NULL WHERE status = 0")
    erase_outdated(places.plain.db, {})
    assert places.plain.scalar("SELECT count(*) FROM conversations WHERE status = 0") == 1
    places.plain.execute(AGED.format(days=31))
    held = saying(str(uuid4()), source="shop")
    places.plain.apply(held)
    places.plain.execute(AGED.format(days=31))
    erase_outdated(places.plain.db, {})
    remaining = places.dump()["conversations"]
    assert not any(who.unopened in row for row in remaining)
    assert any(held.conversation_id in row for row in remaining)  # it still waits
    assert any(who.conversation in row for row in remaining)  # closed, and without a retention kept for ever


def test_readers_learn_of_the_erasure_and_then_nothing_is_left_in_the_changes_either(places: Places) -> None:
    who = person()
    places.fill(who)
    for key in (who.conversation, who.unopened):
        assert places.realmate("erase", "conversation", key, "--source", "shop", "--yes").returncode == 0
    number(places.plain.db)
    kept = "SELECT string_agg(encode(touched, 'hex'), ' ') FROM changes"
    ids = [key.replace("-", "") for key in (who.conversation, who.unopened)]
    assert ids[0] in str(places.plain.scalar(kept)), "an entry says that it is erased"
    assert who.word.encode().hex() not in str(places.plain.scalar(kept)), "a change has no content"
    places.plain.execute("UPDATE changes SET at = at - interval '73 hours'")
    forget_changes(places.plain.db, 72)
    assert not any(key in str(places.plain.scalar(kept)) for key in ids)


def test_a_large_backlog_of_rejections_is_searched_in_portions(places: Places) -> None:
    who = person()
    places.fill(who)
    places.plain.execute(
        "INSERT INTO rejections (source_id, code, body) SELECT source_id, 'invalid_json', convert_to(repeat(md5(CAST("
        " number AS text)), 2000), 'UTF8') FROM (SELECT max(source_id) AS source_id FROM conversations) AS shop"
        " CROSS JOIN generate_series(1, 2000) AS number"
    )
    places.plain.execute("UPDATE rejections SET id = DEFAULT WHERE encode(body, 'escape') LIKE '%wrote in%'")
    for key in (who.conversation, who.unopened):
        assert places.realmate("erase", "conversation", key, "--source", "shop", "--yes").returncode == 0
    assert found(who.traces, places.dump()) == []
    assert places.plain.scalar("SELECT count(*) FROM rejections") == 2000
