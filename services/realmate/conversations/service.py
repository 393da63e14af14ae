"""The only writer: decides every event, answers every group."""

from __future__ import annotations

from collections.abc import Sequence

from realmate.conversations import upkeep
from realmate.conversations.batches import BatchApplier
from realmate.conversations.holding import Holding
from realmate.conversations.responding import Responding, give_up_orphans
from realmate.conversations.rules import RuleBooks, default_rules
from realmate.conversations.sequencer import NUMBER_PAUSE_S, Sequencer
from realmate.conversations.source_ids import SourceIds
from realmate.conversations.sweep import Sweeper
from realmate.http_server import HealthServer
from realmate.runtime.background import Background
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database
from realmate.runtime.sources import Sources, SourcesNow
from realmate.runtime.timers import periodic
from realmate.transport import commands
from realmate.transport.interface import Delivery

TIDY_PAUSE_S = 5.0
COUNT_PAUSE_S = 1.0
RESPOND_PAUSE_S = 0.1
FORGET_PAUSE_S = 60.0


class ConversationsService:
    name = "conversations"

    db = Database()
    settings = ServiceSettings()
    sources = Sources()
    sources_now = SourcesNow()
    health_server = HealthServer()
    background = Background()
    source_ids = SourceIds()
    sequencer = Sequencer()
    responding = Responding(sequencer.wrote)
    sweeper = Sweeper(sequencer.wrote)
    holding = Holding()

    @property
    def rules(self) -> RuleBooks:
        return RuleBooks(default_rules(self.settings), self.source_ids, self.sources, self.sources_now)

    @property
    def batches(self) -> BatchApplier:
        return BatchApplier(self.db, self.rules, self.source_ids, self.holding)

    @commands
    def apply(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        return self._apply(deliveries)

    @commands(drains=True)
    def apply_drained(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        return self._apply(deliveries)

    def _apply(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        verdicts = self.batches.apply(deliveries)
        self.sequencer.wrote()
        return verdicts

    @periodic(lambda settings: settings.sweep_interval_s)
    def sweep(self) -> None:
        self.sweeper.sweep(self.db, self.rules, self.background)

    @periodic(lambda _settings: NUMBER_PAUSE_S)
    def number(self) -> None:
        self.sequencer.run(self.db)

    @periodic(lambda _settings: COUNT_PAUSE_S)
    def count_held(self) -> None:
        self.holding.count(self.db)

    @periodic(lambda _settings: COUNT_PAUSE_S)
    def date(self) -> None:
        upkeep.date_conversations(self.db)

    @periodic(lambda _settings: TIDY_PAUSE_S)
    def tidy(self) -> None:
        self.sweeper.sweep_stranded(self.db, self.rules)
        upkeep.forget_keys(self.db)
        upkeep.forget_changes(self.db, self.settings.feed_keep_h)
        upkeep.tidy(self.db)
        give_up_orphans(self.db, self.rules.responders(self.db))

    @periodic(lambda _settings: RESPOND_PAUSE_S)
    def respond(self) -> None:
        responders = self.rules.responders(self.db)
        allow_private = self.settings.responders_allow_private
        self.responding.start(self.db, self.background, responders, allow_private=allow_private)

    @periodic(lambda _settings: FORGET_PAUSE_S)
    def forget(self) -> None:
        upkeep.forget_rejections(self.db, self.sources, self.settings.retention_s)
        upkeep.erase_outdated(self.db, self.sources, self.settings.retention_s)
