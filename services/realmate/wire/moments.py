"""Moments as text: the profile of ISO 8601 that Realmate takes, in events and on the command line.

`datetime.fromisoformat` alone would not do: it takes any character between date and time, reads a fraction of a minute
as one of a second, rejects leap seconds, and changes from one version of Python to the next.

The profile (docs/delivery-contract.md, "Timestamps"):

- a date: `2025-06-04`, or by its week `2025-W23-3`, or by its day of the year `2025-155`; each without hyphens, too;
- then `T`, `t` or one space;
- then a time: `14:20:05`, `14:20` or `14`, with or without colons. Its last part may have a fraction of any length,
  after a point or a comma: `14:20.5` is 30 s after 14:20. The result is rounded to microseconds;
- then an offset: `Z`, `z`, `+03:00`, `+0300` or `+03`, less than 24 hours. Without an offset the moment is in UTC.

`24:00:00` is the first moment of the next day. A second 60 is a leap second, and means the second after it; it is taken
on any day, where it is 23:59 by the text's own clock or in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

NOT_A_MOMENT = "must be a date and time of ISO 8601, such as 2025-06-04T14:20:05Z"
NO_SUCH_DAY = "names a day that is not in the calendar"
NO_LEAP_SECOND = "has a second 60, which there is only at 23:59"
OUT_OF_RANGE = "must be between the years 0001 and 9999 in UTC"

_HOUR, _SIXTIETH = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_is_usual = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_HOUR}:{_SIXTIETH}:{_SIXTIETH}(?:\.[0-9]{{6}})?(?:Z|[+-]{_HOUR}:{_SIXTIETH})"
).fullmatch
"""Whether the text has the form that nearly every event has. Every Python from 3.11 on reads that form as we do."""

_read = re.compile(
    rf"""
    (?P<year>[0-9]{{4}})
    (?:
        (?P<m>-?) (?P<month>[0-9]{{2}}) (?P=m) (?P<day>[0-9]{{2}})
        | (?P<w>-?) W (?P<week>[0-9]{{2}}) (?P=w) (?P<weekday>[1-7])
        | -? (?P<ordinal>[0-9]{{3}})
    )
    [Tt\ ]
    (?P<hour>{_HOUR}|24) (?: (?P<t>:?) (?P<minute>{_SIXTIETH}) (?: (?P=t) (?P<second>{_SIXTIETH}|60) )? )?
    (?: [.,] (?P<fraction>[0-9]+) )?
    (?: [Zz] | (?P<sign>[+-]) (?P<offset_hour>{_HOUR}) (?: :? (?P<offset_minute>{_SIXTIETH}) )? )?
    """,
    re.VERBOSE,
).fullmatch

_FRACTION_DIGITS = 18
"""The digits that are read. Those after them cannot change the microsecond."""
_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US


def parse_moment(text: str) -> datetime:
    """The moment that the text names, in UTC. Raise ValueError, whose message is for whoever wrote the text."""
    try:
        if _is_usual(text):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # below it is said what is wrong
    parts = _read(text)
    if parts is None:
        raise ValueError(NOT_A_MOMENT)
    return _moment(parts)


def _moment(parts: re.Match[str]) -> datetime:
    time_us, offset_us = _time_us(parts), _offset_us(parts)
    if parts["hour"] == "24" and time_us != _DAY_US:
        raise ValueError(NOT_A_MOMENT)
    if parts["second"] == "60" and not _ends_a_day(time_us, offset_us):
        raise ValueError(NO_LEAP_SECOND)
    try:
        return datetime.combine(_date(parts), datetime.min.time(), UTC) + timedelta(microseconds=time_us - offset_us)
    except OverflowError:
        raise ValueError(OUT_OF_RANGE) from None


def _ends_a_day(time_us: int, offset_us: int) -> bool:
    """Whether the time is within the second after a day's last minute, by its own clock or in UTC."""
    return any(each % _DAY_US < _SECOND_US for each in (time_us, time_us - offset_us))


def _date(parts: re.Match[str]) -> date:
    year = int(parts["year"])
    if year == 0:
        raise ValueError(OUT_OF_RANGE)
    try:
        if parts["month"] is not None:
            return date(year, int(parts["month"]), int(parts["day"]))
        if parts["week"] is not None:
            return date.fromisocalendar(year, int(parts["week"]), int(parts["weekday"]))
        day = date.fromordinal(date(year, 1, 1).toordinal() - 1 + int(parts["ordinal"]))
    except ValueError:
        raise ValueError(NO_SUCH_DAY) from None
    if day.year != year:
        raise ValueError(NO_SUCH_DAY)
    return day


def _time_us(parts: re.Match[str]) -> int:
    """Microseconds since midnight. A fraction is one of the last part that is there."""
    unit_us = _HOUR_US if parts["minute"] is None else _MINUTE_US if parts["second"] is None else _SECOND_US
    hours, minutes, seconds = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    digits = (parts["fraction"] or "0")[:_FRACTION_DIGITS]
    scale: int = 10 ** len(digits)
    fraction_us = (2 * int(digits) * unit_us // scale + 1) // 2  # half a microsecond is rounded up
    return hours * _HOUR_US + minutes * _MINUTE_US + seconds * _SECOND_US + fraction_us


def _offset_us(parts: re.Match[str]) -> int:
    offset_us = int(parts["offset_hour"] or 0) * _HOUR_US + int(parts["offset_minute"] or 0) * _MINUTE_US
    return -offset_us if parts["sign"] == "-" else offset_us
