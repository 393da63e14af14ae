"""Two Postgres servers of which one follows the other, by streaming replication."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from realmate.local.postgres import SETTINGS, Postgres, binary
from realmate.runtime.postgres import connect, without_libpq_variables


class ReplicatedPostgres(Postgres):
    """A server that others may follow, and that may follow another."""

    settings = SETTINGS | {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}

    def copy(self, primary: ReplicatedPostgres) -> None:
        """Become a standby of `primary`, before the first start."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "password").write_bytes((primary.data_dir / "password").read_bytes())
        cluster = self.data_dir / "cluster"
        command = [
            str(binary("pg_basebackup")),
            "-d",
            _replication_url(primary),
            "-D",
            str(cluster),
            "-R",
            "-c",
            "fast",
        ]
        subprocess.run(command, check=True, env=without_libpq_variables(os.environ), timeout=60)
        self._give_to_server(cluster)

    def follow(self, primary: ReplicatedPostgres) -> None:
        """Become a standby of `primary`, once this server has stopped."""
        cluster = self.data_dir / "cluster"
        (cluster / "standby.signal").touch()
        with (cluster / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{_replication_url(primary)}'\n")
        self._give_to_server(cluster)

    def promote(self) -> None:
        connection = connect(self.url_of("postgres"), "test")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_promote()")
            assert cursor.fetchone() == (True,)
        connection.close()

    def _give_to_server(self, cluster: Path) -> None:
        """Postgres rejects to be root: what root has made belongs to the user it runs as."""
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody", str(cluster)], check=True)


def _replication_url(primary: ReplicatedPostgres) -> str:
    return primary.url_of("postgres")
