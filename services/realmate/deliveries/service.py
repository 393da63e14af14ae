"""Outbound webhooks: follows the feed for each endpoint, and sends it what happened."""

from __future__ import annotations

from realmate.deliveries import following, registry
from realmate.deliveries.clock import DatabaseClock
from realmate.deliveries.registry import Registry
from realmate.deliveries.sending import Sender
from realmate.http_server import HealthServer
from realmate.runtime.background import Background
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database
from realmate.runtime.endpoints import Endpoints
from realmate.runtime.timers import periodic

LOOK_PAUSE_S = 1.0
RUN_PAUSE_S = 0.01
"""The pause between two long runs."""
TIDY_PAUSE_S = 5.0
FORGET_PAUSE_S = 60.0


class DeliveriesService:
    name = "deliveries"

    db = Database(part="database of the deliveries", writes_changes=False)
    settings = ServiceSettings()
    endpoints = Endpoints()
    health_server = HealthServer()
    background = Background()
    registry = Registry()
    sender = Sender(registry)
    clock = DatabaseClock()

    @periodic(lambda _settings: LOOK_PAUSE_S)
    def follow_file(self) -> None:
        endpoints = self.endpoints.now()
        self.registry.look(self.db, endpoints)
        self.clock.look(self.db, self.registry.known(endpoints))

    @periodic(lambda _settings: RUN_PAUSE_S)
    def follow_feed(self) -> None:
        following.run(self.db, self.registry, self.endpoints.now)

    @periodic(lambda _settings: RUN_PAUSE_S)
    def send(self) -> None:
        self.sender.run(self.db, self.background, self.endpoints.now)

    @periodic(lambda _settings: TIDY_PAUSE_S)
    def tidy_deliveries(self) -> None:
        registry.tidy(self.db)

    @periodic(lambda _settings: FORGET_PAUSE_S)
    def forget_erased(self) -> None:
        registry.forget_erased(self.db)
