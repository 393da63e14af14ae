"""Settings come from the environment, are checked at start, and fail with one clear line."""

from __future__ import annotations

import json

import pytest

from realmate.runtime.settings import Settings, SettingsError, load
from realmate.wire.webhook import MAX_CONTENT_CHARS


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_the_contract_s() -> None:
    settings = load()
    assert (settings.port, settings.group_window_s, settings.hold_tolerance_s) == (8000, 5.0, 6.0)
    longest_character = len(json.dumps("\N{HOUSE BUILDING}")) - len('""')
    assert settings.http_max_body_bytes == 1024 * 1024 > longest_character * MAX_CONTENT_CHARS


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/0")
    settings = load()
    assert (settings.port, settings.transport) == (9000, "redis://cache:6379/0")
    monkeypatch.setenv("TRANSPORT_URL", "amqp://broker")
    assert load().transport == "amqp://broker"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PORT", "http", "PORT: .*integer"),
        ("PORT", "70000", "PORT: .*65535"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL: must start with postgresql://"),
        ("REDIS_URL", "http://x", "REDIS_URL: must start with redis://"),
        (
            "TRANSPORT_URL",
            "pigeon://loft",
            "TRANSPORT_URL: must start with one of redis://, rediss://, unix://, amqp://",
        ),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL: "),
        ("CLAIM_IDLE_S", "9", "CLAIM_IDLE_S must be shorter than COMMAND_TIMEOUT_S"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_what_a_service_needs_and_has_not_is_named() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        _ = load().database
    with pytest.raises(SettingsError, match="REDIS_URL"):
        _ = load().transport


def test_settings_do_not_change_and_each_is_described() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]
    assert all(field.description for field in Settings.model_fields.values())
