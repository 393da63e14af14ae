"""Moments as options of the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import click


class Moment(click.ParamType[datetime]):
    """A moment as events have it, a day (its beginning, in UTC), or so long ago: 90s, 15m, 2h, 7d."""

    name = "moment"
    _units: ClassVar = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        from realmate.wire.moments import parse_moment

        try:
            if (unit := self._units.get(value[-1:])) is not None:
                return datetime.now(UTC) - timedelta(**{unit: float(value[:-1])})
            return parse_moment(f"{value}T00" if _is_day(value) else value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no moment: 2026-01-31, 2026-01-31T12:00 or 2h (ago), for instance", param, ctx)


_is_day = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
