"""A Realmate to break: two replicas of each service, a receiver of webhooks, a proxy on every edge, clocks to be set,
a disk that can fill.

It is what Kubernetes would run, down to the supervisor that starts again what died. Every child is started from the
main thread (see `Child`), so nothing here uses threads; proxies and load are processes of their own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

import endpoint
import hostile
from clocks import Clock, tidy_shared_memory
from disk import Disk
from feed_reader import FeedOrder, FeedReader
from installation import environment_of
from load import Load
from proxies import Proxies
from realmate.local.child import Child
from realmate.local.ports import free_port
from realmate.local.service import Migration, Service
from receiver import Receiver, ReceiverOrder
from sender import Order
from signatures import SECRET
from stores import TimedPostgres, TimedRabbitMQ, TimedValkey

REPLICAS = 2
SERVICES = ("webhook", "conversations", "query", "deliveries")
SOURCE = "shop"
TOLD_SOURCES = ("default", SOURCE)
"""The endpoint wants the events of these sources."""
SOURCES = f"""
[sources.default]

[sources.{SOURCE}.signing]
scheme = "standard-webhooks"
secrets = [{{ value = "{SECRET}" }}]
{hostile.SOURCES}
"""
WINDOW_S = 1.0
TOLERANCE_S = 1.5
"""Short, so that groups end, held messages expire and closings meet pending groups all the time, under each fault."""
BEGIN_TIMEOUT_S = 60.0


class Cluster:
    def __init__(self, directory: Path, transport: str, seed: int, *, senders: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.transport = transport
        self.clocks = {name: Clock(directory / f"clock-{name}") for name in ("services", "broker", "postgres")}
        self.postgres, self.spare_postgres = (self._postgres(name) for name in ("postgres", "postgres-2"))
        self.disks = {each: Disk(each.data_dir) for each in (self.postgres, self.spare_postgres)}
        self.broker = self._broker("broker")
        self.spare_valkey = self._valkey("broker-2") if isinstance(self.broker, TimedValkey) else None
        self.proxies = Proxies(directory / "proxies.log")
        self.services: dict[str, list[Service]] = {name: [] for name in SERVICES}
        self.journal = directory / "journal.jsonl"
        self.sources = directory / "sources.toml"
        self.arrivals = directory / "arrivals.jsonl"
        receives_at = ReceiverOrder(free_port(), str(self.arrivals), str(directory / "mood"))
        self.receiver = Receiver(receives_at, directory / "receiver.log")
        self._receiver_port = self.proxies.between("deliveries → receiver", receives_at.port)
        self.intakes: list[int] = []
        """The ports at which senders reach webhook."""
        self._seed = seed
        self._senders = senders

    @property
    def disk(self) -> Disk:
        """The one below the Postgres that takes the writes now."""
        return self.disks[self.postgres]

    @property
    def children(self) -> list[Child]:
        services = [service for replicas in self.services.values() for service in replicas]
        return [*services, self.postgres, self.broker, self.receiver]

    def start(self, stack: ExitStack) -> None:
        """Everything is ready afterwards, and the load under way."""
        stack.callback(tidy_shared_memory)
        for disk in self.disks.values():
            stack.enter_context(disk)
        for spare in filter(None, (self.spare_postgres, self.spare_valkey)):
            stack.callback(spare.stop)
        stack.enter_context(self.postgres)
        stack.enter_context(self.broker)
        environment = self._environment()
        migration = {**os.environ, "DATABASE_URL": self.postgres.url}
        Migration(migration, self.directory / "migrate.log").start()
        for name in SERVICES:
            for number in range(REPLICAS):
                log = self.directory / f"{name}-{number}.log"
                service = Service([name], environment[name] | {"PORT": str(free_port())}, log)
                self.services[name].append(service)
        order = self._order()
        stack.enter_context(self.proxies)
        stack.enter_context(self.receiver)
        for service in (each for name in SERVICES for each in self.services[name]):
            stack.enter_context(service)
        for service in (each for name in SERVICES for each in self.services[name]):
            service.wait_ready()
        self._wait_for_endpoint()
        self.feed = self.directory / "feed.jsonl"
        replicas = [each.url for each in self.services["query"]]
        self.feed_reader = FeedReader(FeedOrder(str(self.feed), replicas), self.directory / "feed-reader.log")
        stack.enter_context(self.feed_reader)
        self.load = stack.enter_context(Load(order, self.directory / "load.log"))

    def supervise(self) -> list[str]:
        """Start again what died, as Kubernetes would. Returns the names."""
        dead = [child for child in self.children if not child.running]
        for child in dead:
            child.start()
        return [child.name for child in dead]

    def endpoint_state(self) -> tuple[bool, int] | None:
        return endpoint.state(self.postgres.url)

    def resume_endpoint(self) -> None:
        endpoint.resume(self.postgres.url, self.sources)

    def valkeys(self) -> tuple[TimedValkey, TimedValkey]:
        """The Valkey that takes the writes, and the other one."""
        assert isinstance(self.broker, TimedValkey)
        assert self.spare_valkey is not None
        return self.broker, self.spare_valkey

    def forget_broker(self) -> None:
        """Leave the broker as if it had lost its disk."""
        if isinstance(self.broker, TimedValkey):
            with redis.Redis.from_url(self.broker.url) as client:
                client.flushall()
            return
        self.broker.kill()
        shutil.rmtree(self.directory / "broker" / "mnesia")
        self.broker.start()

    def unready(self) -> list[str]:
        """Services that do not say they are ready, asked without a proxy between."""
        return [service.log.stem for name in SERVICES for service in self.services[name] if not service.is_ready()]

    def hostile_tenant(self) -> hostile.Hostile:
        """Not started. It knows the same addresses as the other senders."""
        return hostile.Hostile(self.intakes, self.directory / "hostile.log")

    def _wait_for_endpoint(self) -> None:
        """Return when it has its place in the feed: it is told what happens from then on."""
        give_up_at = time.monotonic() + BEGIN_TIMEOUT_S
        while self.endpoint_state() is None:
            assert time.monotonic() < give_up_at, "the endpoint did not begin"
            time.sleep(0.05)

    def _postgres(self, name: str) -> TimedPostgres:
        postgres = TimedPostgres(self.directory / name)
        postgres.clock = self.clocks["postgres"]
        return postgres

    def _valkey(self, name: str) -> TimedValkey:
        valkey = TimedValkey(self.directory / name)
        valkey.clock = self.clocks["broker"]
        return valkey

    def _broker(self, name: str) -> TimedValkey | TimedRabbitMQ:
        if self.transport == "redis":
            return self._valkey(name)
        broker = TimedRabbitMQ(self.directory / name)
        broker.clock = self.clocks["broker"]
        return broker

    def _environment(self) -> dict[str, dict[str, str]]:
        """Of each service, with the edges it is at the beginning of."""
        self.sources.write_text(SOURCES + endpoint.section(self._receiver_port, TOLD_SOURCES))
        keys = self.directory / "transport.keys"
        keys.write_text(secrets.token_hex(32))
        common = environment_of(self.postgres, None, self.directory) | {
            "SOURCES_FILE": str(self.sources),
            "TRANSPORT_KEYS_FILE": str(keys),
            "LOG_FORMAT": "json",
            "GROUP_WINDOW_S": str(WINDOW_S),
            "HOLD_TOLERANCE_S": str(TOLERANCE_S),
            **self.clocks["services"].environment,
        }
        return {
            "webhook": common | {"TRANSPORT_URL": self._through("webhook → transport", self.broker.url)},
            "conversations": common
            | {
                "TRANSPORT_URL": self._through("conversations → transport", self.broker.url),
                "DATABASE_URL": self._through("conversations → Postgres", self.postgres.url),
            },
            **{
                name: common | {"DATABASE_URL": self._through(f"{name} → Postgres", self.postgres.url)}
                for name in ("query", "deliveries")
            },
        }

    def _through(self, edge: str, url: str) -> str:
        port = urlsplit(url).port
        assert port is not None
        return url.replace(f":{port}/", f":{self.proxies.between(edge, port)}/")

    def _order(self) -> Order:
        self.intakes = [self.proxies.between("sender → webhook", each.port) for each in self.services["webhook"]]
        return Order(
            journal=str(self.journal),
            intakes=self.intakes,
            readers=[each.port for each in self.services["query"]],
            senders=self._senders,
            window_s=WINDOW_S,
            tolerance_s=TOLERANCE_S,
            seed=self._seed,
            signing=SOURCE,
        )


@contextmanager
def start_cluster(directory: Path, transport: str, seed: int, *, senders: int) -> Iterator[Cluster]:
    cluster = Cluster(directory, transport, seed, senders=senders)
    try:
        with ExitStack() as stack:
            cluster.start(stack)
            yield cluster
    finally:
        for postgres in (cluster.postgres, cluster.spare_postgres):
            shutil.rmtree(postgres.data_dir, ignore_errors=True)  # pytest would keep the last three
