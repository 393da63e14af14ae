"""The numbers under which sources are stored: given out by the database as their names first come, and never again."""

from __future__ import annotations

from collections.abc import Mapping

from realmate.conversations import statements
from realmate.domain.model import DEFAULT_SOURCE_ID
from realmate.runtime.transaction import Transactions
from realmate.sources.model import DEFAULT
from realmate.sources.names import is_name


class SourceIds:
    """The numbers that this process knows. A number never changes, so what is known stays true."""

    def __init__(self) -> None:
        self._known = {DEFAULT: DEFAULT_SOURCE_ID}

    def of(self, db: Transactions, names: set[str]) -> Mapping[str, int]:
        """The number of each of these, and perhaps of others. Raise ValueError for what is no source's name."""
        new = names - self._known.keys()
        if new:
            self._learn(db, sorted(new))
        return self._known

    def _learn(self, db: Transactions, names: list[str]) -> None:
        if not all(map(is_name, names)):
            raise ValueError("no source can have this name")
        found = dict(db.fetch(statements.SOURCE_IDS, names))
        if len(found) < len(names):  # look first: an insert in vain uses up a number, too
            with db.begin() as transaction:
                transaction.add(statements.INSERT_SOURCES, [name for name in names if name not in found])
                found = dict(transaction.fetch(statements.SOURCE_IDS, names))
                transaction.commit()
        self._known |= found
