"""What one source has piled up and what falls due at once: written by SQL, as if it had been sent in time."""

from __future__ import annotations

from dataclasses import dataclass

from database import Database

SOURCE = "hostile"
PORTION = 500
"""Messages in one statement."""

_SOURCE_ID = f"(SELECT id FROM sources WHERE name = '{SOURCE}')"
_ID = "CAST(md5('hostile' || n) AS uuid)"
# Letters that do not compress: some 60 random bytes to each hash, as often as needed.
_CONTENT = """(
    SELECT left(string_agg(md5(random()::text || n || seq || piece), ''), %(bytes)s)
    FROM generate_series(0, %(bytes)s / 32) AS piece
)"""
_MESSAGES = f"""
    INSERT INTO messages (id, source_id, conversation_id, seq, kind, "timestamp", arrived_at, content)
    SELECT gen_random_uuid(), {_SOURCE_ID}, {_ID}, seq, %(kind)s, now(), now() - interval '1 hour', {_CONTENT}
    FROM generate_series(CAST(%(first)s AS integer), %(last)s) AS n,
        generate_series(CAST(%(first_seq)s AS integer), %(last_seq)s) AS seq
"""
_HOLDING = f"""
    INSERT INTO conversations (id, source_id, status, last_seq, due_at, held_messages, held_bytes)
    SELECT {_ID}, {_SOURCE_ID}, 0, %(messages)s, now(), %(messages)s, %(messages)s * %(bytes)s
    FROM generate_series(1, %(conversations)s) AS n
"""
_GROUPED = f"""
    INSERT INTO conversations (id, source_id, status, created_at, updated_at, opened_timestamp, last_seq,
        group_first_seq, group_size, group_first_at, group_last_at, due_at)
    SELECT {_ID}, {_SOURCE_ID}, 1, now(), now(), now(), %(messages)s, 1, %(messages)s, now() - interval '1 hour',
        now() - interval '1 hour', now()
    FROM generate_series(1, %(conversations)s) AS n
"""


@dataclass(frozen=True)
class Backlog:
    """So many conversations of so many messages of so many bytes."""

    conversations: int
    messages: int
    bytes: int
    is_held: bool
    """Whether the messages wait for their conversation; else they are a group that waits for its reply."""


def store_messages(database: Database, backlog: Backlog) -> None:
    """Takes long, and nothing looks at them before their conversations are there."""
    database.do(f"INSERT INTO sources (name) VALUES ('{SOURCE}') ON CONFLICT DO NOTHING")
    kind = {"kind": 3 if backlog.is_held else 1, "bytes": backlog.bytes}
    at_once = max(1, PORTION // backlog.messages)
    for first in range(1, backlog.conversations + 1, at_once):
        numbers = {"first": first, "last": min(first + at_once - 1, backlog.conversations)}
        for first_seq in range(1, backlog.messages + 1, PORTION):
            seqs = {"first_seq": first_seq, "last_seq": min(first_seq + PORTION - 1, backlog.messages)}
            database.do(_MESSAGES, kind | numbers | seqs)
    database.do("VACUUM (ANALYZE) messages")
    database.do("CHECKPOINT")


def fall_due(database: Database, backlog: Backlog) -> None:
    """All of it, now."""
    sizes = {"conversations": backlog.conversations, "messages": backlog.messages, "bytes": backlog.bytes}
    database.do(_HOLDING if backlog.is_held else _GROUPED, sizes)
