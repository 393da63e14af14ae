"""The catalogue: every kind of fault, whom it hits, how long it lasts, and whether this machine can have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from clocks import why_clocks_cannot_be_set
from cluster import SERVICES, Cluster
from receiver import Mood
from strikes import (
    Strike,
    fill_disk,
    freeze,
    hostile_tenant,
    jump,
    kill_backend,
    kill_both_writers,
    kill_one,
    kill_receiver,
    kill_store,
    kill_while_starting_again,
    lose_memory,
    partition,
    poison,
    receiver_is,
    replica_of,
    restart_everything,
)
from switchovers import retire_old_postgres, retire_old_redis, switch_postgres, switch_redis

HOUR_S = 3600
EDGES = (
    "sender → webhook",
    "webhook → transport",
    "conversations → transport",
    "conversations → Postgres",
    "query → Postgres",
    "deliveries → Postgres",
    "deliveries → receiver",
)

EVERYTHING = "everything"
HOSTILE_TENANT = "a hostile tenant"
NOT_OF_THIS_TRANSPORT = ""
"""No reason that anybody needs to read."""


@dataclass(frozen=True)
class Fault:
    name: str
    part: str
    """What is struck. Two at a time strike different parts; EVERYTHING goes with nothing else."""
    strike: Strike
    lasts_s: tuple[float, float] = (0.5, 4.0)
    """Of a process that was killed: also longer than CLAIM_IDLE_S, so that the other replica takes its work over."""
    seen_by: Literal["writers", "readers"] = "writers"
    """Whose 2xx tell how long it was felt."""
    why_not: Callable[[Cluster], str | None] = lambda _cluster: None
    """Why it cannot be struck on this machine."""
    afterwards: Callable[[Cluster], None] = lambda _cluster: None
    """What is tidied up when all has healed: it is no part of the fault."""
    moves_database_clock: bool = False
    comes_first: bool = False
    """Struck in every run, however short: what nobody may ever break."""


def _no_clocks(_cluster: Cluster) -> str | None:
    return why_clocks_cannot_be_set()


def _no_small_disk(cluster: Cluster) -> str | None:
    return cluster.disk.why_it_cannot_fill


def _no_redis(cluster: Cluster) -> str | None:
    return None if cluster.spare_valkey else NOT_OF_THIS_TRANSPORT


def _seen_by(part: str) -> Literal["writers", "readers"]:
    return "readers" if part.startswith("query") else "writers"


LONG_ENOUGH = (1.0, 6.0)
"""Up to longer than COMMAND_TIMEOUT_S."""
LONGER_THAN_A_LEASE = (1.0, 9.0)
"""A delivery's lease is 7 s here: then the other replica sends what this one had."""


def _freezes_for(service: str) -> tuple[float, float]:
    return LONGER_THAN_A_LEASE if service == "deliveries" else LONG_ENOUGH


CATALOGUE = (
    Fault("kill -9 webhook", "webhook", kill_one("webhook"), comes_first=True),
    Fault("kill -9 conversations", "conversations", kill_one("conversations"), comes_first=True),
    Fault("kill -9 query", "query", kill_one("query"), seen_by="readers"),
    Fault("kill -9 deliveries", "deliveries", kill_one("deliveries"), LONGER_THAN_A_LEASE, comes_first=True),
    Fault("kill -9 both conversations", "conversations", kill_both_writers, comes_first=True),
    Fault("kill -9 while starting again", EVERYTHING, kill_while_starting_again),
    Fault("kill -9 Postgres", "postgres", kill_store(lambda cluster: cluster.postgres), comes_first=True),
    Fault("kill -9 one Postgres backend", "postgres", kill_backend),
    Fault("switchover of Postgres", "postgres", switch_postgres, afterwards=retire_old_postgres, comes_first=True),
    Fault(
        "switchover of Redis", "broker", switch_redis, why_not=_no_redis, afterwards=retire_old_redis, comes_first=True
    ),
    Fault("kill -9 the broker", "broker", kill_store(lambda cluster: cluster.broker), comes_first=True),
    Fault("a poisoned broker", "broker", poison, (0, 0), comes_first=True),
    Fault(HOSTILE_TENANT, "tenant", hostile_tenant, (4.0, 8.0), comes_first=True),
    Fault("the broker forgets all", "broker", lose_memory, (0, 0)),
    *(
        Fault(f"freeze {service}", service, freeze(replica_of(service)), _freezes_for(service), _seen_by(service))
        for service in SERVICES
    ),
    Fault("freeze Postgres", "postgres", freeze(lambda cluster, _random: cluster.postgres), LONG_ENOUGH),
    Fault("freeze the broker", "broker", freeze(lambda cluster, _random: cluster.broker), LONG_ENOUGH),
    *(Fault(f"partition {edge}", edge, partition(edge), LONG_ENOUGH, _seen_by(edge)) for edge in EDGES),
    Fault("kill -9 the receiver", "receiver", kill_receiver, comes_first=True),
    Fault("freeze the receiver", "receiver", freeze(lambda cluster, _random: cluster.receiver), LONG_ENOUGH),
    *(Fault(f"the receiver: {mood}", "receiver", receiver_is(mood), LONG_ENOUGH) for mood in Mood if mood != Mood.WELL),
    Fault("disk full", "postgres", fill_disk, (2.0, 5.0), why_not=_no_small_disk),
    Fault("services' clock jumps", "clock", jump("services", HOUR_S, -HOUR_S), why_not=_no_clocks),
    Fault("broker's clock jumps", "broker", jump("broker", HOUR_S, -HOUR_S), why_not=_no_clocks),
    # Forward first: the way back is the worse one, and what it leaves behind must heal.
    Fault("Postgres' clock jumps", "postgres", jump("postgres", HOUR_S), why_not=_no_clocks, moves_database_clock=True),
    Fault("rolling restart of everything", EVERYTHING, restart_everything, (0, 0)),
)


def different_parts(random: Random, faults: Sequence[Fault]) -> Sequence[Fault]:
    """Two at random that do not get in each other's way; one, where there are none."""
    first = random.choice(faults)
    others = [fault for fault in faults if fault.part not in {first.part, EVERYTHING}]
    return [first, random.choice(others)] if others and first.part != EVERYTHING else [first]
