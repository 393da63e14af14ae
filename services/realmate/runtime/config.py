"""The bridge between Nameko's configuration dictionary and the settings, in both directions.

`realmate run` makes the dictionary from the settings. Under `nameko run` the settings are made from Nameko's YAML file.
"""

from __future__ import annotations

from typing import Any

from nameko.extensions import DependencyProvider

from realmate.runtime import cooperation, logs
from realmate.runtime.settings import Settings, load

SETTINGS_KEY = "REALMATE"


def nameko_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a Nameko container. Extensions find the settings in it with `settings_of`."""
    return {
        SETTINGS_KEY: settings,
        "SERVICE_CONTAINER_CLS": "realmate.runtime.container.Container",
        # Our entrypoints bound their own work; Nameko's pool must never be what a health route or a timer waits for.
        "max_workers": 1000,
    }


class ServiceSettings(DependencyProvider):
    """Gives a service method the settings of its process."""

    def get_dependency(self, worker_ctx: Any) -> Settings:  # noqa: ARG002 (Nameko's signature)
        return settings_of(self.container)


def settings_of(container: Any) -> Settings:
    """Return the settings of the container that an extension is bound to. Raises SettingsError under `nameko run`."""
    if SETTINGS_KEY not in container.config:
        container.config[SETTINGS_KEY] = _adopt(container.config, container.service_name)
    settings: Settings = container.config[SETTINGS_KEY]
    return settings


def _adopt(config: dict[str, Any], service: str) -> Settings:
    """Return the settings that Nameko's own configuration names, as variables are named; the environment has the rest.

    What `realmate run` sets up for a process is set up here, but for logging where the YAML file has its own.
    """
    cooperation.patch()
    settings = load(config)
    if "LOGGING" not in config:
        logs.configure(settings, service=service)
    return settings
