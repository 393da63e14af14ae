"""Readers' tokens: what their file may say, and whom it admits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.sources import tokens
from realmate.sources.configuration import ConfigurationError
from realmate.sources.tokens import TokenRejected, TokensFile

TOKEN = "rmt_s1Dd5bq0Vx0m3Jw9c2S8h4kzN7yTgEoL6aPfRuCiQvX"
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()


def read(directory: Path, content: str, name: str = "tokens.toml") -> tokens.Tokens:
    path = directory / name
    path.write_text(content)
    return TokensFile(path).content


def test_what_the_command_writes_is_what_the_file_takes(tmp_path: Path) -> None:
    others = {"a dashboard": tokens.make(), 'with "quotes"': tokens.make()}
    entries = [tokens.entry(name, token, ["read", "admin"], []) for name, token in others.items()]
    known = read(tmp_path, "\n\n".join([*entries, tokens.entry("shop", TOKEN, ["read"], ["shop", "store"])]))
    holder = known.holder(f"Bearer {TOKEN}", "read")
    assert (holder.name, holder.scopes, holder.sources) == ("shop", frozenset({"read"}), frozenset({"shop", "store"}))
    for name, token in others.items():
        holder = known.holder(f"bearer  {token}", "admin")
        assert (holder.name, holder.sources) == (name, None)


def test_a_name_that_comes_twice_is_an_error_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    entry = f'"shop": {{"sha256": "{SHA256}"}}'
    assert len(read(tmp_path, f'\ufeff{{"tokens": {{{entry}}}}}', "tokens.json")) == 1
    with pytest.raises(ConfigurationError, match="the name 'shop' comes twice"):
        read(tmp_path, f'{{"tokens": {{{entry}, {entry}}}}}', "tokens.json")


def test_what_the_file_would_reject_the_command_does_not_write() -> None:
    with pytest.raises(ConfigurationError, match="`sources`"):
        tokens.entry("shop", TOKEN, ["admin"], ["shop"])
    with pytest.raises(ConfigurationError, match="no source's name"):
        tokens.entry("shop", TOKEN, ["read"], ["Shop!"])


def test_json_says_the_same(tmp_path: Path) -> None:
    known = read(tmp_path, json.dumps({"tokens": {"shop": {"sha256": SHA256}}}), "tokens.json")
    assert known.holder(f"Bearer {TOKEN}", "read").scopes == {"read"}


@pytest.mark.parametrize(
    ("header", "scope", "reason"),
    [
        (None, "read", "missing"),
        ("", "read", "missing"),
        (TOKEN, "read", "invalid"),
        (f"Basic {TOKEN}", "read", "invalid"),
        (f"Bearer {TOKEN}, Bearer {TOKEN}", "read", "invalid"),
        (f"Bearer {TOKEN[:-1]}", "read", "invalid"),
        (f"Bearer {SHA256}", "read", "invalid"),
        (f"Bearer {TOKEN}", "admin", "scope"),
    ],
)
def test_whom_it_rejects(tmp_path: Path, header: str | None, scope: tokens.Scope, reason: str) -> None:
    known = read(tmp_path, f'[tokens.shop]\nsha256 = "{SHA256}"')
    with pytest.raises(TokenRejected) as caught:
        known.holder(header, scope)
    assert caught.value.reason == reason
    assert TOKEN[: len(TOKEN) // 2] not in str(caught.value)


@given(st.text())
def test_no_header_admits_where_nobody_has_a_token(header: str) -> None:
    with pytest.raises(TokenRejected):
        tokens.Tokens([]).holder(header, "read")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[tokens.a]", r"tokens\.a: .*sha256"),
        ('[tokens.a]\nsha256 = "ABC"', r"tokens\.a\.sha256: .*regex"),
        (f'[tokens.a]\nsha256 = "{SHA256}"\nscopes = []', r"tokens\.a\.scopes: "),
        (f'[tokens.a]\nsha256 = "{SHA256}"\nscopes = ["write"]', r"tokens\.a\.scopes\[0\]: .*write"),
        (f'[tokens.a]\nsha256 = "{SHA256}"\nscope = ["read"]', r"tokens\.a: .*`scope`"),
        (f'[tokens.a]\nsha256 = "{SHA256}"\n[tokens.b]\nsha256 = "{SHA256}"', r"tokens\.b: this is the token of a"),
        ("[readers.a]", "unknown field `readers`"),
        ("tokens = 3", r"tokens: "),
        ("[tokens", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path, content)
