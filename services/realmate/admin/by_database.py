"""The operations of this process, at the database. Replays go to a server by HTTP, as any sender's events do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from realmate.admin import erasures, rejections
from realmate.admin.client import Server
from realmate.admin.erasures import Erasure
from realmate.admin.exporting import exported
from realmate.admin.operations import Erasing, NoSuchSource, NothingOfIt, Planned, Progress
from realmate.admin.rejections import Filter, Rejection
from realmate.admin.replay import Replay, ReplayAction, action_for
from realmate.conversations.erasing import Erased, erase_conversation, erase_source
from realmate.runtime.transaction import Transactions
from realmate.sources.file import Sources


@dataclass(frozen=True)
class ByDatabase:
    """Is one of the `Operations`."""

    engine: Engine
    server: Server
    """The server that replays go to."""
    sources: Callable[[], Sources]
    """Reads which source signs with which secret."""

    def newest(self, which: Filter, limit: int) -> list[Rejection]:
        with self.engine.connect() as connection:
            return rejections.newest(connection, which, limit)

    def find(self, number: int) -> Rejection | None:
        with self.engine.connect() as connection:
            return rejections.find(connection, number)

    def plan(self, which: Filter) -> list[Planned]:
        with self.engine.connect() as connection:
            counts = rejections.count(connection, which)
        return [Planned(code, number, action_for(code)) for code, number in counts.items()]

    def replay(self, which: Filter, rate: float) -> Iterator[Progress]:
        run = Replay(self.server, self.sources(), rate=rate)
        with self.engine.connect() as connection:
            for rejection in rejections.oldest_first(connection, which):
                if action_for(rejection.code) is not ReplayAction.NOT_SENT:
                    rejections.mark_replayed(connection, rejection.id, *run.send(rejection))
                    yield Progress(run.answers.total(), dict(run.answers))

    def erase_conversation(self, source: str, conversation_id: str) -> Iterator[Erased]:
        erased = erase_conversation(Transactions(self.engine), self._number(source), conversation_id)
        if not any(erased):
            raise NothingOfIt(source, conversation_id, self._hint("erase", conversation_id))
        yield erased

    def erase_source(self, source: str) -> Erasing:
        number = self._number(source)
        with self.engine.connect() as connection:
            statement = text("SELECT count(*) FROM conversations WHERE source_id = :id")
            conversations: int = connection.execute(statement, {"id": number}).scalar_one()
        return Erasing(conversations, erase_source(Transactions(self.engine), number))

    def erasures(self, limit: int) -> list[Erasure]:
        with self.engine.connect() as connection:
            return erasures.newest(connection, limit)

    def export(self, source: str, conversation_id: str) -> bytes:
        with self.engine.connect() as connection:
            document = exported(connection, source, conversation_id)
        if document is None:
            raise NothingOfIt(source, conversation_id, self._hint("export", conversation_id))
        return document

    def _number(self, source: str) -> int:
        with self.engine.connect() as connection:
            number = erasures.number_of(connection, source)
        if number is None:
            raise NoSuchSource(source)
        return number

    def _hint(self, verb: str, conversation_id: str) -> str:
        """Name the sources that have a conversation of this id, for a person who named no source."""
        statement = text(
            "SELECT DISTINCT name FROM conversations JOIN sources ON sources.id = source_id"
            " WHERE conversations.id = CAST(:id AS uuid) ORDER BY name"
        )
        with self.engine.connect() as connection:
            names = connection.execute(statement, {"id": conversation_id}).scalars().all()
        return f"; to {verb} it, say whose it is: --source {' or --source '.join(names)}" if names else ""
