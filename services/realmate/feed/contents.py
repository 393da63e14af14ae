"""The SQL that reads messages with their contents, up to a number of bytes."""

from __future__ import annotations

MESSAGE_BYTES = 200
"""The most bytes of a message in a response, beside its content."""


def with_contents(chosen: str, *, order: str, most_bytes: str) -> str:
    """Return SQL for the messages that `chosen` selects, each with `fitting`: its content where that fits.

    Contents of `most_bytes` in all are read in that order, and the first one whatever its size is. A page ends before
    the first message without one.
    """
    return f"""(
        SELECT *, CASE
            WHEN row_number() OVER in_order = 1
                OR sum(octet_length(content) + {MESSAGE_BYTES}) OVER in_order <= {most_bytes} THEN content
        END AS fitting
        FROM ({chosen}) AS chosen
        WINDOW in_order AS (ORDER BY {order})
    )"""
