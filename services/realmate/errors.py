"""The root of Realmate's exceptions. A type tells whether another try helps, and whether a person can mend it."""

from __future__ import annotations

from typing import ClassVar


class RealmateError(Exception):
    """Whatever Realmate itself raises."""

    may_pass: ClassVar[bool] = False
    """Whether the same may succeed when it is tried again later."""


class UserError(RealmateError):
    """An error that a person can mend. The message is one line: what is wrong, and what to do."""
