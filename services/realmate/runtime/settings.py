"""Every setting of every process, read once from the environment and from nowhere else (12-factor).

A field's name in capitals is its variable. The README's table is made from these descriptions, and a test compares the
two. A wrong value or a contradiction stops the process with one clear line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from realmate.errors import UserError
from realmate.runtime.store_urls import MAX_PORT, check_redis_url, check_transport_url
from realmate.sources.model import DAY_S
from realmate.wire.webhook import MAX_CONTENT_CHARS


class SettingsError(UserError):
    """A setting is missing or wrong; the message says which and why, for a person."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=False, env_ignore_empty=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _without_space_around(cls, given: Any) -> Any:
        """A line end from a file, or a blank: what is around a value does not count, and nothing but it is no value."""
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in dict(given).items()}
        return {name: value for name, value in stripped.items() if value != ""}

    # Where to listen and where the stores are.
    host: str = Field("127.0.0.1", description="Address to listen on. Pods and containers set `0.0.0.0`.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port for `/metrics`, which then is on no other, so that an ingress to `PORT` never publishes it."
        " Health is on both. Default: all on `PORT`.",
    )
    database_url: str | None = Field(
        None,
        description="PostgreSQL, `postgresql://user:password@host/database`, with any parameter of libpq: several"
        " hosts, `sslmode`, `options` and so on. Needed by conversations, query and migrate; `realmate up` starts one"
        " of its own where this is not set. libpq's own variables (`PGHOST`, ...) are ignored.",
    )
    database_max_age_s: float = Field(
        60.0,
        ge=1,
        description="Seconds after which a connection to Postgres is made anew, so that an address that has moved is"
        " found even where nothing fails at the old one.",
    )
    database_writer_url: str | None = Field(
        None,
        description="For `realmate migrate` and `realmate up`: the `DATABASE_URL` that conversations is given."
        " `migrate` makes the role that it names and gives it the rights of the writer: docs/privileges.md. A service"
        " that writes uses it instead of `DATABASE_URL`, as console does where it shares a process with query.",
    )
    database_reader_url: str | None = Field(
        None, description="The same for query, whose role may only read, and only conversations."
    )
    redis_url: str | None = Field(
        None,
        description="Redis or Valkey, `redis://host:6379/0`; `realmate up` starts one where this is not set."
        " `rediss://` is TLS, with redis-py's parameters `ssl_ca_certs`, `ssl_cert_reqs` and the like.",
    )
    transport_url: str | None = Field(
        None,
        description="What carries commands between webhook and conversations: `redis://…`, or"
        " `amqp://user:password@host:5672//` for RabbitMQ. Default: `REDIS_URL`.",
    )
    drain_transport_url: str | None = Field(
        None,
        description="For conversations, while `TRANSPORT_URL` changes: what carried commands before. It takes what"
        " still comes from there, too.",
    )
    realmate_data_dir: Path = Field(
        Path(".realmate"), description="Where `realmate up` keeps its embedded stores; survives a restart."
    )

    # The contract's rules.
    group_window_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds of silence that end a group of messages and bring its reply."
    )
    group_max_messages: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Messages in one group, at most: with so many it is answered at once, so that every reply has a"
        " bound.",
    )
    hold_tolerance_s: float = Field(
        6.0, ge=0, le=3600, description="Seconds a message waits for its conversation before it expires."
    )
    hold_max_messages: int = Field(
        1_000,
        ge=1,
        description="Messages that may wait for one conversation at the same time; further ones get 429"
        " `too_many_held`.",
    )
    hold_max_bytes: int = Field(
        16 * 1024 * 1024,
        ge=262_144,
        description="Bytes of content that may wait for one conversation; not less than one message of 65,536"
        " characters can have.",
    )
    hold_total_messages: int = Field(
        50_000,
        ge=1,
        description="Messages of one source that may wait at the same time, all its conversations together;"
        " counted each second.",
    )
    hold_total_bytes: int = Field(
        128 * 1024 * 1024, ge=262_144, description="Bytes of content of one source that may wait at the same time."
    )

    # Who may send, and who may read.
    sources_file: Path | None = Field(
        None,
        description="The senders and their rules, TOML or (`.json`) JSON: docs/sources.md. Read again when it changes."
        " Without it anyone may send.",
    )
    tokens_file: Path | None = Field(
        None,
        description="The readers' tokens, hashed: docs/sources.md. Read again when it changes."
        " Without it anyone may read.",
    )

    responders_allow_private: bool = Field(
        True,  # noqa: FBT003 (pydantic's way to give a default)
        description="Whether a source's `reply.allow_private` has any effect. `false`: no responder may be in a private"
        " network or without TLS, whoever writes the file of sources.",
    )

    endpoints_allow_private: bool = Field(
        True,  # noqa: FBT003 (pydantic's way to give a default)
        description="Whether an endpoint's `allow_private` has any effect. `false`: no endpoint may be in a private"
        " network or without TLS, whoever writes the file of sources.",
    )

    retention_closed_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="For how many days closed conversations are kept, of each source that says nothing of its own"
        " (`retention.closed_days`) or that SOURCES_FILE does not name. Default: for ever.",
    )

    streams_max: int = Field(
        2_000,
        ge=1,
        description="How many readers may wait for changes, or stream them, in one process. Others get a 503.",
    )
    feed_keep_h: float = Field(
        72.0,
        gt=0,
        le=8_760,
        description="For how many hours changes are kept for readers of `/changes/`. A reader that was away longer is"
        " told so, and lists the conversations anew.",
    )

    webhook_url: str = Field(
        "http://127.0.0.1:8000",
        description="For console: where replayed events are sent, `http://host:port`, as any sender sends them.",
    )

    transport_keys_file: Path | None = Field(
        None,
        description="The keys with which webhook and conversations sign what they send each other, one on each line, of"
        " at least 32 characters: docs/architecture.md. Read again when it changes. Without it whoever has the broker's"
        " password can make events.",
    )

    # Limits: what one process takes on before it says 503, and how long it tries.
    command_timeout_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Seconds from an event's arrival to a 503 if no verdict came. Longer than a failover of the stores"
        " helps nobody: senders give up and send again.",
    )
    http_max_batch: int = Field(256, ge=1, le=10_000, description="Requests one worker takes at once, at most.")
    http_max_batch_bytes: int = Field(
        1_048_576,
        ge=1,
        description="Bytes of bodies, or of contents to be shown, that one worker takes at once, at most. What is"
        " larger by itself goes alone.",
    )
    http_budget_bytes: int = Field(
        67_108_864,
        ge=1_048_576,
        description="Bytes that all requests and answers of one process may hold in memory at a time. Beyond it nothing"
        " more is read, and what has waited 5 s for room gets 503. The process needs about four times as much, and"
        " 100 MB beside.",
    )
    http_batches_in_flight: int = Field(
        4, ge=1, le=64, description="Batches at work at the same time; newcomers wait and form the next batch."
    )
    http_queue: int = Field(
        4096, ge=1, description="Requests that may wait for a batch; beyond it the answer is 503 at once."
    )
    http_max_connections: int = Field(
        10_000,
        ge=1,
        description="Open connections, at most. Beyond it, idle ones are closed for newcomers; where none is, newcomers"
        " get 503, except to ask for the process's health.",
    )
    http_max_connections_per_peer: int | None = Field(
        None,
        ge=1,
        description="Open connections of one address (of IPv6: one /64), at most. Behind a proxy all are the proxy's."
        " Default: three quarters of HTTP_MAX_CONNECTIONS, so that no address alone can take all.",
    )
    http_max_body_bytes: int = Field(
        16 * MAX_CONTENT_CHARS,
        ge=1,
        description="Largest request body; larger gets 413. The default holds the longest content that there may be,"
        " with every character escaped: 65,536 of 12 bytes, and the rest of the event.",
    )
    http_max_head_bytes: int = Field(16_384, ge=256, description="Largest request line with headers; larger gets 431.")
    http_read_timeout_s: float = Field(
        10.0, gt=0, description="Seconds from a request's first byte to its last; slower gets 408 (slow-loris)."
    )
    http_idle_timeout_s: float = Field(75.0, gt=0, description="Seconds an idle keep-alive connection stays open.")
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Seconds a stopping process still takes requests, not ready any more and closing each connection"
        " with its answer: until whoever routes to it has noticed. Behind a load balancer 5 or so.",
    )
    drain_timeout_s: float = Field(
        8.0,
        ge=0,
        le=600,
        description="Seconds a stopping process then gives to work in flight."
        " Kill grace must be longer than both and 3 s.",
    )
    consumer_batches_in_flight: int = Field(
        1,
        ge=1,
        le=64,
        description="Transactions a conversations process runs at the same time. With one, what arrives meanwhile makes"
        " the next one larger, and cheaper an event; more help where a commit waits long for its disk.",
    )
    consumer_max_merge: int = Field(
        8, ge=1, le=256, description="Batches of several intakes merged into one transaction, at most."
    )
    consumer_max_merge_bytes: int = Field(
        8 * 1024 * 1024,
        ge=65_536,
        description="Bytes of batches merged into one transaction, at most. A larger batch is applied alone.",
    )
    claim_idle_s: float = Field(
        1.5,
        gt=0,
        description="Seconds after which a batch is claimed from a consumer that died or froze; with RabbitMQ also the"
        " heartbeat, in whole seconds. Shorter than COMMAND_TIMEOUT_S, so that the sender still gets its verdict.",
    )
    sweep_interval_s: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Seconds between two looks for due replies and expired messages. A reply is due within 0.25 s.",
    )

    # What the process tells.
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console`, or `auto`: console in a terminal, JSON elsewhere."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")

    @field_validator("database_url", "database_writer_url", "database_reader_url")
    @classmethod
    def _postgres_only(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn

        try:
            ports = parse_dsn(url).get("port", "")
        except ProgrammingError as error:
            raise ValueError(str(error).strip().removeprefix("invalid dsn: ")) from None
        for port in filter(None, ports.split(",")):
            if not (port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT):
                raise ValueError(f"its port {port!r} is no number from 1 to {MAX_PORT}")
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_only(cls, url: str | None) -> str | None:
        if url is not None:
            check_redis_url(url)
        return url

    @field_validator("transport_url", "drain_transport_url")
    @classmethod
    def _known_transport(cls, url: str | None) -> str | None:
        if url is not None:
            check_transport_url(url)
        return url

    @model_validator(mode="after")
    def _claim_before_timeout(self) -> Self:
        if self.claim_idle_s >= self.command_timeout_s:
            raise ValueError("CLAIM_IDLE_S must be shorter than COMMAND_TIMEOUT_S")
        return self

    @property
    def retention_s(self) -> float | None:
        """RETENTION_CLOSED_DAYS in seconds; None: for ever."""
        return None if self.retention_closed_days is None else self.retention_closed_days * DAY_S

    @property
    def transport(self) -> str:
        """The transport's URL. Raises SettingsError when neither TRANSPORT_URL nor REDIS_URL is set."""
        url = self.transport_url or self.redis_url
        if url is None:
            raise SettingsError("REDIS_URL (or TRANSPORT_URL) is not set, and this service needs it")
        return url

    @property
    def consumer_batches_in_all(self) -> int:
        """How many batches a process has in flight, of all transports."""
        transports = 1 if self.drain_transport_url is None else 2
        return transports * self.consumer_batches_in_flight

    @property
    def redis(self) -> str | None:
        """Redis' URL, for what can do without one: REDIS_URL, or the transport's where that is Redis."""
        url = self.redis_url or self.transport_url
        return None if url is None or urlsplit(url).scheme.startswith("amqp") else url

    @property
    def heartbeat_s(self) -> int:
        """The heartbeat of AMQP: the broker gives up a client that was silent for this long or a little more."""
        return max(1, round(self.claim_idle_s))

    @property
    def database(self) -> str:
        """DATABASE_URL. Raises SettingsError when it is not set."""
        if self.database_url is None:
            raise SettingsError("DATABASE_URL is not set, and this service needs it")
        return self.database_url

    @property
    def writer_database(self) -> str:
        """The URL for a service that writes. Raises SettingsError when neither is set."""
        return self.database_writer_url or self.database


def load(given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of this process: those `given` by their variables' names, and the environment's.

    Raises SettingsError with one line a wrong variable.
    """
    chosen = {name.lower(): value for name, value in (given or {}).items() if name.isupper()}
    try:
        return Settings(**{name: value for name, value in chosen.items() if name in Settings.model_fields})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        raise SettingsError("; ".join(lines)) from None
