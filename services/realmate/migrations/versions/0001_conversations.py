"""Conversations, their messages, and the batches already applied.

No foreign key from messages to conversations: the only writer holds the conversation's row lock when it inserts, and a
key would take a second lock on that row for every message.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    # The row that is locked for every decision. Room on the page (fillfactor) lets updates that touch no indexed column
    # stay on it (HOT): all but the first message of a group.
    """
    CREATE TABLE conversations (
        id uuid PRIMARY KEY,
        created_at timestamptz,
        updated_at timestamptz,
        due_at timestamptz,
        group_last_at timestamptz,
        opened_timestamp timestamptz,
        closed_timestamp timestamptz,
        last_seq integer NOT NULL,
        group_first_seq integer,
        status smallint NOT NULL
    ) WITH (fillfactor = 75)
    """,
    "CREATE INDEX conversations_due ON conversations (due_at) WHERE due_at IS NOT NULL",
    """
    COMMENT ON COLUMN conversations.status IS
        '0 PENDING (only held messages name it; invisible), 1 OPEN, 2 CLOSED'
    """,
    """
    COMMENT ON COLUMN conversations.due_at IS
        'when the sweep must look at it, at the latest: the end of its group, or of its first held message''s wait'
    """,
    # Insert-only on the hot path: a group is a range of seq, so answering it updates no message.
    """
    CREATE TABLE messages (
        id uuid PRIMARY KEY,
        conversation_id uuid NOT NULL,
        "timestamp" timestamptz NOT NULL,
        arrived_at timestamptz NOT NULL,
        seq integer NOT NULL,
        kind smallint NOT NULL,
        content text NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX messages_in_conversation ON messages (conversation_id, seq)",
    "CREATE INDEX messages_held ON messages (conversation_id, seq) WHERE kind = 3",
    "COMMENT ON COLUMN messages.kind IS '1 INBOUND, 2 OUTBOUND, 3 HELD, 4 EXPIRED (never entered the conversation)'",
    # Written with the batch itself, so that a batch delivered twice gets the verdicts it got the first time.
    """
    CREATE TABLE applied_batches (
        id text PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        verdicts bytea NOT NULL
    )
    """,
    "CREATE INDEX applied_batches_by_age ON applied_batches (applied_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE applied_batches, messages, conversations")
