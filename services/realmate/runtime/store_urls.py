"""The checks of REDIS_URL and TRANSPORT_URL, before anything connects. (libpq reads DATABASE_URL.)

No complaint shows a piece of the URL: where a password is not encoded, any piece may be one of it.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

MAX_PORT = 65_535
REDIS_SCHEMES = ("redis", "rediss", "unix")
AMQP_SCHEMES = ("amqp", "amqps")
REDIS_PARAMETERS = {
    "db": r"[0-9]+",
    "username": ".*",
    "password": ".*",
    "client_name": ".+",
    "ssl_ca_certs": ".+",
    "ssl_ca_path": ".+",
    "ssl_certfile": ".+",
    "ssl_keyfile": ".+",
    "ssl_keyfile_password": ".*",
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "true|false",
}
"""The parameters allowed after the question mark, with their values. We choose timeouts and protocols."""

_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")


def check_redis_url(url: str) -> None:
    """Raise ValueError, whose message is for whoever set it."""
    parts = _parts(url, REDIS_SCHEMES, "redis://, rediss:// or unix://")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("names no socket: unix:///run/redis.sock, for instance")
    else:
        _check_address(parts)
        if re.fullmatch(r"/?[0-9]*", parts.path) is None:
            raise ValueError("its database must be a number: redis://host:6379/0, for instance")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in REDIS_PARAMETERS:
            raise ValueError(f"has a parameter that is not known here; known are {', '.join(REDIS_PARAMETERS)}")
        if re.fullmatch(REDIS_PARAMETERS[name], value) is None:
            raise ValueError(f"its parameter {name} must be {REDIS_PARAMETERS[name].replace('|', ' or ')}")


def check_transport_url(url: str) -> None:
    """Raise ValueError, whose message is for whoever set it."""
    parts = _parts(url, REDIS_SCHEMES + AMQP_SCHEMES, "one of redis://, rediss://, unix://, amqp://, amqps://")
    if parts.scheme in REDIS_SCHEMES:
        check_redis_url(url)
    else:
        _check_address(parts)


def _parts(url: str, schemes: tuple[str, ...], known: str) -> SplitResult:
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"must start with {known}")
    if _UNPRINTABLE.search(url):
        raise ValueError("has white space within; write it as %20")
    if _BARE_PERCENT.search(url):
        raise ValueError("has a % without two hexadecimal digits after it; write a % itself as %25")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is no URL: its host's brackets or characters are wrong") from None


def _check_address(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is not None and not 0 < port <= MAX_PORT:
        raise ValueError(
            f"its port must be a number from 1 to {MAX_PORT}; in a password, write / ? # @ as %2F %3F %23 %40"
        )
    if not parts.hostname:
        raise ValueError(f"names no host: {parts.scheme}://host, for instance")
    if "," in parts.hostname:
        raise ValueError("names several hosts; it must be one address, which moves with the primary")
