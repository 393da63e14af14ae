"""Switchovers: a replica takes over, its primary lives on as the replica, and the address moves a little later.

Until the address moves, it leads to a server that answers and rejects to write. The connections that were made to it
stay open after the move, too. A client that keeps them never heals.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from cluster import Cluster

POSTGRES_EDGES = ("conversations → Postgres", "query → Postgres", "deliveries → Postgres")
BROKER_EDGES = ("webhook → transport", "conversations → transport")
STOP_TIMEOUT_S = 30.0


@contextmanager
def switch_postgres(cluster: Cluster, _random: Random) -> Iterator[str]:
    """The standby is synchronous, before and after: no commit that was answered is missing anywhere."""
    old, new = cluster.postgres, cluster.spare_postgres
    new.copy(old)
    new.start()
    old.wait_for_standby(wanted=True)
    old.stop(STOP_TIMEOUT_S)
    new.promote()
    old.follow(new)
    old.start()
    new.wait_for_standby(wanted=True)
    cluster.postgres, cluster.spare_postgres = new, old
    yield "the old primary is a hot standby, and the address still leads to it"
    for edge in POSTGRES_EDGES:
        cluster.proxies.move(edge, new.port)


def retire_old_postgres(cluster: Cluster) -> None:
    cluster.postgres.wait_for_standby(wanted=False)
    cluster.spare_postgres.stop(STOP_TIMEOUT_S)
    cluster.spare_postgres.forget()


@contextmanager
def switch_redis(cluster: Cluster, _random: Random) -> Iterator[str]:
    old, new = cluster.valkeys()
    new.share_password_of(old)
    new.start()
    new.follow(old)
    new.wait_in_step()
    new.promote()
    old.follow(new)
    cluster.broker, cluster.spare_valkey = new, old
    yield "the old primary is a replica, and the address still leads to it"
    for edge in BROKER_EDGES:
        cluster.proxies.move(edge, new.port)


def retire_old_redis(cluster: Cluster) -> None:
    _, old = cluster.valkeys()
    old.stop(STOP_TIMEOUT_S)
