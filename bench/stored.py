"""Conversations that are in the tables before anything is measured: written by SQL, as if Realmate had long done so.

They have numbers, and their ids follow from those: here, in SQL (read.sql has the same), and in stored.lua.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from database import Database

SCATTER = 2_654_435_761
"""Odd, so n * SCATTER mod 2**32 makes of n = 1, 2, 3 ... numbers that differ and lie all over, as random ids do.
Lua counts in doubles, which is exact for n up to three million."""
MESSAGES_EACH = 10
PORTION = 20_000
TOLD_EVERY = 500_000
SETTLED_FULL_PERCENT = 70
"""How full the pages of an index become by inserts at random places. A new index has 90 %, and soon splits them all."""

_ID = (
    f"CAST(lpad(to_hex(n * {SCATTER} %% 4294967296), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0') AS uuid)"
)
_QUESTION = "'Olá, quero alugar um apartamento de dois quartos.'"
_ANSWER = "'Mensagens recebidas:' || repeat(E'\\n' || gen_random_uuid(), 9)"

_CONVERSATIONS = f"""
    INSERT INTO conversations (id, status, created_at, updated_at, opened_timestamp, last_seq)
    SELECT {_ID}, 1, now() - interval '1 day', now() - interval '1 day', now() - interval '1 day', %(messages)s
    FROM generate_series(CAST(%(first)s AS bigint), %(last)s) AS n
"""
_MESSAGES = f"""
    INSERT INTO messages (id, conversation_id, seq, kind, "timestamp", arrived_at, content)
    SELECT gen_random_uuid(), {_ID}, seq, CASE WHEN seq %% 10 = 0 THEN 2 ELSE 1 END,
        now() - interval '1 day', now() - interval '1 day', CASE WHEN seq %% 10 = 0 THEN {_ANSWER} ELSE {_QUESTION} END
    FROM generate_series(CAST(%(first)s AS bigint), %(last)s) AS n, generate_series(1, %(messages)s) AS seq
"""
_OPEN_GROUPS = f"""
    INSERT INTO conversations (id, status, created_at, updated_at, opened_timestamp, last_seq,
        group_first_seq, group_last_at, due_at)
    SELECT {_ID}, 1, last_at, last_at, last_at, %(messages)s, 1, last_at, last_at + make_interval(secs => %(window_s)s)
    FROM generate_series(CAST(1 AS bigint), %(count)s) AS n, LATERAL (
        SELECT CAST(%(start)s AS timestamptz) + make_interval(secs => %(over_s)s * (n - 1) / %(count)s - %(window_s)s)
    ) AS moment (last_at)
"""
_GROUPED_MESSAGES = f"""
    INSERT INTO messages (id, conversation_id, seq, kind, "timestamp", arrived_at, content)
    SELECT gen_random_uuid(), {_ID}, seq, 1, now(), now(), {_QUESTION}
    FROM generate_series(CAST(%(first)s AS bigint), %(last)s) AS n, generate_series(1, %(messages)s) AS seq
"""


def conversation_id(number: int) -> str:
    return f"{number * SCATTER % 2**32:08x}-0000-4000-8000-{number:012x}"


def fill(database: Database, first: int, last: int) -> None:
    """Store these conversations, ten messages each of which the last is the reply.

    Without the indexes on messages, which are made anew after: that is several times quicker, and they are left as full
    as inserts would have left them.
    """
    total = (last - first + 1) * MESSAGES_EACH
    database.do("UPDATE pg_index SET indisready = false WHERE indrelid = CAST('messages' AS regclass)")
    for start in range(first, last + 1, PORTION):
        portion = {"first": start, "last": min(start + PORTION - 1, last), "messages": MESSAGES_EACH}
        database.do(_CONVERSATIONS, portion)
        database.do(_MESSAGES, portion)
        done = (portion["last"] - first + 1) * MESSAGES_EACH
        if done % TOLD_EVERY == 0 or done == total:
            print(f"  stored {done:,} of {total:,} messages", flush=True)
    print("  making the indexes ...", flush=True)
    indexes = database.all("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'messages'::regclass")
    for (index,) in indexes:
        database.do(f"ALTER INDEX {index} SET (fillfactor = {SETTLED_FULL_PERCENT})")
    database.do("REINDEX TABLE messages")
    for (index,) in indexes:
        database.do(f"ALTER INDEX {index} RESET (fillfactor)")
    tidy(database)


def conversations(database: Database, first: int, last: int, messages: int) -> None:
    """Store a few conversations of so many messages each, every tenth a reply."""
    portion = {"first": first, "last": last, "messages": messages}
    database.do(_CONVERSATIONS, portion)
    database.do(_MESSAGES, portion)
    tidy(database)


@dataclass(frozen=True)
class Groups:
    """Open groups, one a conversation, that end one after the other, evenly over a time."""

    count: int
    messages: int
    """In each."""
    over_s: float
    window_s: float
    """From a group's last message to its end."""


def grouped_messages(database: Database, groups: Groups) -> None:
    """Store the messages of groups to be opened: they take longer than those, and nothing looks at them before."""
    for start in range(1, groups.count + 1, PORTION):
        last = min(start + PORTION - 1, groups.count)
        database.do(_GROUPED_MESSAGES, {"first": start, "last": last, "messages": groups.messages})
    tidy(database)


def open_groups(database: Database, groups: Groups, first_end: datetime) -> None:
    """Store their conversations. The groups' last messages came at their `created_at`, which never changes."""
    database.do(_OPEN_GROUPS, {**asdict(groups), "start": first_end})


def tidy(database: Database) -> None:
    """What autovacuum would do later, while something is measured."""
    database.do("VACUUM (ANALYZE) conversations, messages")
    database.do("CHECKPOINT")
