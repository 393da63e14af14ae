"""The feed: the changes after a cursor, told as events (docs/adr/0018).

A change says which positions of which conversations it touched. Its events are read from the messages, whose content
may have been erased meanwhile: then there is nothing to tell of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

from realmate.domain.changes import ERASED_TYPE, MESSAGE_TYPES, Touched, What, decode
from realmate.domain.model import MessageKind
from realmate.feed.contents import with_contents
from realmate.feed.cursors import BEFORE, END, Cursor
from realmate.feed.events import Event, Message, conversation_event, message_event
from realmate.runtime.transaction import Statement, Transactions, uuid_array

PAGE_BYTES = 1_048_576
"""The most bytes of contents in one answer. The first message comes whatever its size is."""
ROWS_AT_ONCE = 500
ROWS_SCANNED = 20_000
"""How many changes one answer looks through at most. It may then have fewer events than it was asked for, or none."""
LOST_AT_MOST = timedelta(seconds=60)
"""How far back a reader is led where the log was rewritten: more than a standby that may be promoted lags behind."""
STARTING = "A version that writes no changes is still at work; ask again in some seconds."
OPENED, CLOSED, ERASED = 0, END - 2, END - 1
"""The places of the events that are not a message's, before and behind all positions of messages."""

STATE_COLUMNS = ("complete_from", "position", "at", "mark", "now", "first")
STATE = """
    SELECT complete_from, feed.position, last.at, last.mark, clock_timestamp() AS now,
        (SELECT position FROM changes WHERE position IS NOT NULL ORDER BY position LIMIT 1) AS first
    FROM feed LEFT JOIN changes AS last ON last.position = feed.position
"""
_STATE = Statement("place_of_feed", (), STATE)
_CHANGES = Statement(
    "changes_from",
    ("bigint", "integer"),
    "SELECT position, at, mark, touched FROM changes WHERE position >= $1 ORDER BY position LIMIT $2",
)
_MOMENT = Statement("moment_of_change", ("bigint",), "SELECT at FROM changes WHERE position = $1")
_SOURCES = Statement("names_of_sources", (), "SELECT id, name FROM sources")
_TOUCHED = f"""
    SELECT number, message.id, seq, kind, "timestamp", content
    FROM unnest($1, $2, $3, $4, $5) AS wanted (number, conversation_id, source_id, first, last)
    JOIN messages AS message ON message.conversation_id = wanted.conversation_id
        AND message.source_id = wanted.source_id AND seq BETWEEN first AND last AND kind <> {MessageKind.HELD:d}
"""
_MESSAGES = Statement(
    "changed_messages",
    ("integer[]", "uuid[]", "integer[]", "integer[]", "integer[]", "bigint"),
    f"""
    SELECT number, CAST(id AS text), seq, kind, "timestamp", fitting
    FROM {with_contents(_TOUCHED, order="number, seq", most_bytes="$6")} AS met
    ORDER BY number, seq
    """,
)


class Told(NamedTuple):
    """An event, and the place behind it."""

    event: Event
    cursor: Cursor


class Page(NamedTuple):
    told: list[Told]
    cursor: Cursor
    caught_up: bool
    """Whether the cursor stands at the end of the feed."""
    start: Cursor
    """The cursor that was asked for, or where the reader was led back to: the log was rewritten."""
    marks: dict[int, int]
    """The marks of the changes that were looked through, by their positions."""

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.told]


class Expired(NamedTuple):
    """Changes after the cursor are not kept any more."""

    oldest: Cursor
    last: Cursor


class FeedStarting(Exception):
    """A version that adds no changes is still at work, so that the feed would have holes."""


class Filter(NamedTuple):
    """What a reader wants of the feed, and may have of it. None: all."""

    sources: frozenset[str] | None = None
    conversations: frozenset[str] | None = None
    types: frozenset[str] | None = None

    def wants(self, touched: Touched, names: Mapping[int, str]) -> bool:
        """Whether there may be an event for this reader in the entry."""
        return (self.conversations is None or touched.conversation_id in self.conversations) and (
            self.sources is None or names.get(touched.source_id) in self.sources
        )

    def tells(self, event: Event) -> bool:
        return (
            (self.conversations is None or event.conversation_id in self.conversations)
            and (self.sources is None or event.source in self.sources)
            and (self.types is None or event.type in self.types)
        )

    @property
    def any_message(self) -> bool:
        return self.types is None or not self.types.isdisjoint(MESSAGE_TYPES.values())


class State(NamedTuple):
    """The state of the feed at one moment."""

    complete_from: int
    last: Cursor
    oldest: int
    """The first position from which on everything is kept."""


class Entry(NamedTuple):
    """An entry that a reader wants, with its change."""

    end: Cursor
    """The place behind it."""
    touched: Touched
    source: str


class Window(NamedTuple):
    """The part of the log that one answer is about."""

    start: Cursor
    entries: list[Entry]
    scanned: Cursor
    """The place up to which these are all entries that the reader wants."""
    marks: dict[int, int]
    last: int
    """The last position of the feed."""


class Met(Protocol):
    """What must be known of a message to tell that it came."""

    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> int: ...


M = TypeVar("M", bound=Met)


def state(db: Transactions) -> State:
    """Return the state of the feed at this moment. Raises FeedStarting."""
    [row] = db.fetch(_STATE)
    return state_of(row)


def state_of(row: Sequence[Any]) -> State:
    """Return the state that a row of STATE_COLUMNS tells. Raises FeedStarting."""
    complete_from, position, at, mark, now, first = row
    if complete_from is None:
        raise FeedStarting(STARTING)
    last = Cursor(position, at or now, mark or 0)
    return State(complete_from, last, max(complete_from, (first or position + 1) - 1))


def read(db: Transactions, after: Cursor, wanted: Filter, limit: int, limit_bytes: int) -> Page | Expired:
    """Return at most `limit` events after the cursor, with contents of `limit_bytes` in all. Raises FeedStarting."""
    part = window(db, after, wanted, limit)
    if isinstance(part, Expired):
        return part
    start, entries, scanned, marks, last = part
    messages = _messages(db, entries, limit_bytes) if wanted.any_message else {}
    told: list[Told] = []
    reached = start
    for number, entry in enumerate(entries):
        for place, event in _events(entry, messages.get(number, ())):
            here = entry.end._replace(place=place)
            if here.key <= start.key:
                continue
            if event is None or len(told) == limit:
                return Page(told, reached, caught_up=False, start=start, marks=marks)
            reached = here
            if wanted.types is None or event.type in wanted.types:
                told.append(Told(event, here))
    return Page(told, scanned, scanned.position >= last, start, marks)


def window(db: Transactions, after: Cursor, wanted: Filter, limit: int) -> Window | Expired:
    """Return the entries after the cursor, enough for `limit` events. Raises FeedStarting."""
    now = state(db)
    start = _verified(db, after, now)
    if start is None:
        return Expired(_oldest(db, now), now.last)
    return Window(start, *_entries(db, start, wanted, limit), now.last.position)


def places(entry: Entry, messages: Sequence[M]) -> Iterator[tuple[int, str, M | None]]:
    """Yield the place and the type of each of the entry's events in their order, with the message that it is about."""
    what = entry.touched.what
    if what & What.OPENED:
        yield OPENED, "conversation.opened", None
    for message in messages:
        if what & (What.EXPIRED if message.kind == MessageKind.EXPIRED else What.MESSAGES):
            yield message.seq, MESSAGE_TYPES[MessageKind(message.kind)], message
    if what & What.CLOSED:
        yield CLOSED, "conversation.closed", None
    if what & What.ERASED:
        yield ERASED, ERASED_TYPE, None


def recent(db: Transactions, changes: int) -> Cursor:
    """Return the cursor behind which are so many changes, or all that are kept. Raises FeedStarting."""
    now = state(db)
    for position, at, mark, _ in db.fetch(_CHANGES, max(now.oldest + 1, now.last.position - changes), 1):
        return Cursor(position, at, mark)
    return now.last


def oldest(db: Transactions) -> Cursor:
    """Return the cursor from which on everything is kept. Raises FeedStarting."""
    return _oldest(db, state(db))


def _oldest(db: Transactions, now: State) -> Cursor:
    """The cursor stands before the oldest change, which names it: the one before that may be forgotten."""
    for position, at, mark, touched in db.fetch(_CHANGES, now.oldest + 1, 1):
        return Cursor(position, at, mark, 0, BEFORE) if touched else Cursor(position, at, mark)
    return now.last


def _verified(db: Transactions, cursor: Cursor, now: State) -> Cursor | None:
    """Return where to go on from, or None where too much is missing."""
    if cursor.position == 0:
        return cursor if now.oldest == 0 else None
    if cursor.position < now.complete_from:
        return None
    for position, at, mark, touched in db.fetch(_CHANGES, cursor.position, 1):
        if position != cursor.position:
            return None  # it was forgotten, and perhaps others that came after it
        if mark != cursor.mark:
            return _after_rewriting(db, cursor, now)
        is_told = bool(touched) or cursor.key == Cursor(position, at, mark).key
        return cursor if is_told else None  # the last change, whose entries were forgotten
    return _after_rewriting(db, cursor, now)


def _after_rewriting(db: Transactions, cursor: Cursor, now: State) -> Cursor | None:
    """Return the place behind which is everything that the reader may have missed: the log is another one since.

    The moments of neighbours may be some seconds out of order; LOST_AT_MOST is far more than that.
    """
    since = cursor.at - LOST_AT_MOST
    low, high = now.oldest, now.last.position
    while low < high:  # the last position before `since`
        middle = (low + high + 1) // 2
        if _moment(db, middle) < since:
            low = middle
        else:
            high = middle - 1
    if low == now.oldest > 0 and _moment(db, low) >= since:
        return None
    return Cursor(low, cursor.at, 0)


def _moment(db: Transactions, position: int) -> datetime:
    """Return the moment of a change; of one that is forgotten, the latest there is: it decides nothing then."""
    for (at,) in db.fetch(_MOMENT, position):
        moment: datetime = at
        return moment
    return datetime.max.replace(tzinfo=UTC)


def _entries(db: Transactions, start: Cursor, wanted: Filter, limit: int) -> tuple[list[Entry], Cursor, dict[int, int]]:
    """Return the entries with the next events, enough for `limit` of them, the place up to which they are all, and the
    marks of the changes up to there."""
    names: dict[int, str] = dict(db.fetch(_SOURCES))
    entries: list[Entry] = []
    marks: dict[int, int] = {}
    reached, expected = start, 0
    for position, at, mark, touched in _changes(db, start.position):
        change = Cursor(position, at, mark)
        marks[position] = mark
        for number, each in enumerate(decode(bytes(touched))):
            end = change._replace(entry=number)
            if end.key > start.key and wanted.wants(each, names):
                rest = _rest(each, start.place) if end.key[:2] == start.key[:2] else each
                entries.append(Entry(end, rest, names.get(rest.source_id, "")))
                expected += _size(rest)
        reached = max(start, change, key=lambda cursor: cursor.key)
        if expected > limit:
            break
    return entries, reached, marks


def _rest(touched: Touched, place: int) -> Touched:
    """Return the entry without the messages up to a place."""
    first = max(touched.first_position, place + 1)
    return touched._replace(first_position=first if first <= touched.last_position else 0)


def _changes(db: Transactions, position: int) -> Iterator[tuple[Any, ...]]:
    for _ in range(ROWS_SCANNED // ROWS_AT_ONCE):
        rows = db.fetch(_CHANGES, position, ROWS_AT_ONCE)
        yield from rows
        if len(rows) < ROWS_AT_ONCE:
            return
        position = rows[-1][0] + 1


def _size(touched: Touched) -> int:
    """Return how many events an entry has at most."""
    messages = touched.last_position - touched.first_position + 1 if touched.first_position > 0 else 0
    return messages + (touched.what & (What.OPENED | What.CLOSED | What.ERASED)).bit_count()


def _messages(db: Transactions, entries: Sequence[Entry], limit_bytes: int) -> dict[int, list[Message]]:
    """Return the messages of the entries, by the entries' numbers."""
    rows = rows_of_entries(db, _MESSAGES, entries, limit_bytes)
    return {number: [Message(*row) for row in found] for number, found in rows.items()}


def rows_of_entries(
    db: Transactions, statement: Statement, entries: Sequence[Entry], *others: object
) -> dict[int, list[Sequence[Any]]]:
    """Return what a statement finds in the ranges of messages that the entries tell, by the entries' numbers.

    Its parameters are the numbers, the conversations, their sources, the first and the last positions, and `others`.
    Each row begins with its entry's number, which is left out here.
    """
    asked = [(number, each.touched) for number, each in enumerate(entries) if each.touched.first_position]
    found: dict[int, list[Sequence[Any]]] = {}
    if asked:
        rows = db.fetch(
            statement,
            [number for number, _ in asked],
            uuid_array(touched.conversation_id for _, touched in asked),
            [touched.source_id for _, touched in asked],
            [touched.first_position for _, touched in asked],
            [touched.last_position for _, touched in asked],
            *others,
        )
        for number, *row in rows:
            found.setdefault(number, []).append(row)
    return found


def _events(entry: Entry, messages: Sequence[Message]) -> Iterator[tuple[int, Event | None]]:
    """Yield the entry's events in their order, each with its place; None: its content did not fit."""
    source, key, at = entry.source, entry.touched.conversation_id, entry.end.at
    for place, kind, message in places(entry, messages):
        if message is None:
            yield place, conversation_event(source, key, kind, at)
        else:
            yield place, message_event(source, key, at, message)
