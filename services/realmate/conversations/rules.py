"""The rules of each source: its own where the file of sources gives any, else those of the settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from realmate.conversations.source_ids import SourceIds
from realmate.domain.model import Rules
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.sources.file import UNCONFIGURED, Sources
from realmate.sources.responders import Responder


def default_rules(settings: Settings) -> Rules:
    """Return the rules of a source that has none of its own."""
    return Rules(
        group_window=timedelta(seconds=settings.group_window_s),
        group_max_messages=settings.group_max_messages,
        hold_tolerance=timedelta(seconds=settings.hold_tolerance_s),
        hold_max_messages=settings.hold_max_messages,
        hold_max_bytes=settings.hold_max_bytes,
        hold_total_messages=settings.hold_total_messages,
        hold_total_bytes=settings.hold_total_bytes,
    )


class RuleBook:
    """The rules by a source's number."""

    def __init__(
        self, default: Rules, by_source: Mapping[int, Rules] | None = None, asked: Collection[int] = frozenset()
    ) -> None:
        self._default = default
        self._by_source = by_source or {}
        self._asked = asked

    def of(self, source_id: int) -> Rules:
        return self._by_source.get(source_id, self._default)

    def has_responder(self, source_id: int) -> bool:
        """Whether the source's replies come from a responder."""
        return source_id in self._asked

    @property
    def longest_wait(self) -> timedelta:
        """Nothing waits longer for a timer."""
        return max(
            max(rules.group_window, rules.hold_tolerance) for rules in (self._default, *self._by_source.values())
        )


class RuleBooks:
    """The book of the moment. The file of sources has names, and may change; the database has numbers."""

    def __init__(
        self,
        default: Rules,
        source_ids: SourceIds,
        sources: Sources = UNCONFIGURED,
        look: Callable[[], Sources] | None = None,
    ) -> None:
        """`look` reads the sources' file at once, where it has changed."""
        self._default = default
        self._source_ids = source_ids
        self._sources = sources
        self._look = look

    def names(self, source: str) -> bool:
        """Whether the file names the source. Without a file of sources every name is accepted.

        The intake may have read a new file a moment before this process, so a source that is missing is looked for.
        """
        if source not in self._sources and self._sources is not UNCONFIGURED and self._look is not None:
            self._sources = self._look()
        return self._sources is UNCONFIGURED or source in self._sources

    def book(self, db: Transactions) -> RuleBook:
        """Return the rules that hold now. It reads the numbers of new names, and raises what reading raises."""
        own = {name: source.rules(self._default) for name, source in self._sources.items() if source.own_rules}
        source_ids = self._source_ids.of(db, set(own))
        return RuleBook(
            self._default, {source_ids[name]: rules for name, rules in own.items()}, self.responders(db).keys()
        )

    def responders(self, db: Transactions) -> Mapping[int, tuple[str, Responder]]:
        """Return the responders with their source's name, by the source's number."""
        own = {name: source.responder for name, source in self._sources.items() if source.responder is not None}
        source_ids = self._source_ids.of(db, set(own))
        return {source_ids[name]: (name, responder) for name, responder in own.items()}
