"""Nameko's configuration dictionary, made from the settings: the one bridge between the two."""

from __future__ import annotations

from typing import Any

from nameko.extensions import DependencyProvider

from realmate.runtime.settings import Settings

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
    """The settings of the container an extension is bound to."""
    settings: Settings = container.config[SETTINGS_KEY]
    return settings
