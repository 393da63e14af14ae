"""How each fault is struck: a context that lasts while the fault does, and yields what exactly was struck.

A process that was killed stays away for that time; starting it again ends the fault, as a supervisor would. Stores are
started again when they take requests: until then the fault lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from random import Random

import psutil
import psycopg2

from clocks import NOTICED_AFTER_S
from cluster import SERVICES, Cluster
from installation import frozen
from poison_rabbitmq import RabbitPoison
from poison_redis import RedisPoison
from proxies import Weather
from realmate.local.child import Child
from receiver import Mood

STOP_TIMEOUT_S = 30.0
"""Generous: a drain takes DRAIN_TIMEOUT_S at most, but this machine does other things too."""

Strike = Callable[[Cluster, Random], AbstractContextManager[str]]


def kill_one(service: str) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, random: Random) -> Iterator[str]:
        replica = random.choice(cluster.services[service])
        replica.kill()
        yield replica.log.stem
        replica.start()

    return strike


@contextmanager
def kill_receiver(cluster: Cluster, _random: Random) -> Iterator[str]:
    cluster.receiver.kill()
    yield cluster.receiver.name
    cluster.receiver.start()


def receiver_is(mood: Mood) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, _random: Random) -> Iterator[str]:
        with cluster.receiver.mood(mood):
            yield f"{cluster.receiver.name}: {mood}"

    return strike


@contextmanager
def kill_both_writers(cluster: Cluster, _random: Random) -> Iterator[str]:
    for replica in cluster.services["conversations"]:
        replica.kill()
    yield "both conversations"
    for replica in cluster.services["conversations"]:
        replica.start()


@contextmanager
def kill_while_starting_again(cluster: Cluster, random: Random) -> Iterator[str]:
    replica = random.choice(cluster.services[random.choice(SERVICES)])
    replica.kill()
    for _ in range(2):
        replica.start()
        time.sleep(random.uniform(0.1, 2.0))
        replica.kill()
    yield replica.log.stem
    replica.start()


def kill_store(store_of: Callable[[Cluster], Child]) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, _random: Random) -> Iterator[str]:
        store = store_of(cluster)
        children = psutil.Process(store.pid).children(recursive=True)
        store.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        yield store.name
        store.start()

    return strike


@contextmanager
def kill_backend(cluster: Cluster, random: Random) -> Iterator[str]:
    """One server process of Postgres dies in the middle of whatever it did; Postgres restarts all by itself."""
    victim = random.choice(psutil.Process(cluster.postgres.pid).children())
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    yield str(victim.pid)


@contextmanager
def lose_memory(cluster: Cluster, _random: Random) -> Iterator[str]:
    """The broker forgets all: streams, groups, queues, what is under way."""
    cluster.forget_broker()
    yield cluster.broker.name


def freeze(child_of: Callable[[Cluster, Random], Child]) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, random: Random) -> Iterator[str]:
        child = child_of(cluster, random)
        with frozen(child.pid):
            yield child.log.stem

    return strike


def replica_of(service: str) -> Callable[[Cluster, Random], Child]:
    return lambda cluster, random: random.choice(cluster.services[service])


def partition(edge: str) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, random: Random) -> Iterator[str]:
        weather = random.choice([each for each in Weather if each is not Weather.FAIR])
        with cluster.proxies.weather(edge, weather):
            yield weather

    return strike


@contextmanager
def fill_disk(cluster: Cluster, random: Random) -> Iterator[str]:
    """Postgres can extend no table; and every other time no log either, which it survives only by starting again."""
    with cluster.disk.full():
        if with_wal := random.random() < 0.5:
            _switch_wal(cluster)
        yield "with the WAL" if with_wal else "tables"
    if not cluster.postgres.running:  # what else died is the supervisor's, or another strike's
        cluster.postgres.start()


def _switch_wal(cluster: Cluster) -> None:
    with suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
        connection = psycopg2.connect(cluster.postgres.url)
        try:
            with connection.cursor() as cursor:
                for _ in range(3):
                    cursor.execute("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'filling', 'up')")
        finally:
            connection.close()


def jump(clock: str, *offsets_s: int) -> Strike:
    @contextmanager
    def strike(cluster: Cluster, random: Random) -> Iterator[str]:
        offset_s = random.choice(offsets_s)
        with cluster.clocks[clock].off_by(offset_s):
            time.sleep(NOTICED_AFTER_S)
            yield f"{offset_s:+d} s and back"
        time.sleep(NOTICED_AFTER_S)

    return strike


@contextmanager
def restart_everything(cluster: Cluster, _random: Random) -> Iterator[str]:
    """As a deploy does it: SIGTERM, wait, start, wait until it is ready, the next one."""
    for service in SERVICES:
        for replica in cluster.services[service]:
            replica.stop(timeout_s=STOP_TIMEOUT_S)
            assert replica.exit_code == 0, f"{replica.log.stem} did not stop in order: {replica.exit_code}"
            replica.start()
            replica.wait_ready()
    yield "two replicas each, one by one"


@contextmanager
def hostile_tenant(cluster: Cluster, _random: Random) -> Iterator[str]:
    """What it piled up falls due after the fault's end: the neighbours' replies are timed until the next fault."""
    with cluster.hostile_tenant():
        yield "huge, many, endless, unsigned, by halves, and beyond its limit"


@contextmanager
def poison(cluster: Cluster, _random: Random) -> Iterator[str]:
    """Somebody has the broker's password."""
    url = cluster.broker.url
    poison = RedisPoison(url) if cluster.transport == "redis" else RabbitPoison(url)
    poison.pour()
    yield f"{poison.sent} entries and replies"
