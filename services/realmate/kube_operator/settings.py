"""The operator's own settings, from the environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from realmate.kube_operator.kinds import ADMIN_PORT
from realmate.runtime.settings import SettingsError


class OperatorSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False, env_ignore_empty=True)

    operator_namespace: str | None = Field(None, description="Serve this namespace alone; without it, all of them.")
    operator_interval_s: float = Field(
        15.0, gt=0, le=600, description="Seconds between two reconciles, if nothing happens. While pods load, every 2."
    )
    operator_metrics_token: str | None = Field(
        None, description="A token of scope `admin`, for the pods' counts of events where TOKENS_FILE guards them."
    )
    host: str = Field("127.0.0.1", description="Address of /healthz and /metrics. Pods set `0.0.0.0`.")
    port: int = Field(8000, ge=1, le=65535, description="Port of /healthz: watch and reconciles go on.")
    admin_port: int = Field(ADMIN_PORT, ge=1, le=65535, description="Port of /metrics.")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="As for the services.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="As for the services.")


def load() -> OperatorSettings:
    """Raises SettingsError."""
    try:
        return OperatorSettings()
    except ValidationError as error:
        lines = (f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise SettingsError("; ".join(lines)) from None
