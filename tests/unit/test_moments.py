"""Moments as text are read as RFC 3339 and ISO 8601 mean them, or rejected; by every Python alike."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.wire import moments
from realmate.wire.moments import NO_LEAP_SECOND, NO_SUCH_DAY, NOT_A_MOMENT, OUT_OF_RANGE, parse_moment

TAKEN = {
    # RFC 3339's own examples (5.8), and what its 5.6 allows.
    "1985-04-12T23:20:50.52Z": "1985-04-12T23:20:50.520000+00:00",
    "1996-12-19T16:39:57-08:00": "1996-12-20T00:39:57+00:00",
    "1990-12-31T23:59:60Z": "1991-01-01T00:00:00+00:00",
    "1990-12-31T15:59:60-08:00": "1991-01-01T00:00:00+00:00",
    "1937-01-01T12:00:27.87+00:20": "1937-01-01T11:40:27.870000+00:00",
    "2025-06-04t14:20:05z": "2025-06-04T14:20:05+00:00",
    "2025-06-04 14:20:05Z": "2025-06-04T14:20:05+00:00",
    "2025-06-04T14:20:05-00:00": "2025-06-04T14:20:05+00:00",
    "2025-06-04T14:20:05+23:59": "2025-06-03T14:21:05+00:00",
    "2025-06-04T14:20:05.0000001Z": "2025-06-04T14:20:05+00:00",
    "2025-06-04T14:20:04.9999995Z": "2025-06-04T14:20:05+00:00",
    "2025-06-04T14:20:04.999999499999Z": "2025-06-04T14:20:04.999999+00:00",
    "2025-06-04T14:20:05." + "3" * 5000 + "Z": "2025-06-04T14:20:05.333333+00:00",
    # Leap seconds, and the end of a day.
    "2016-12-31T23:59:60.5Z": "2017-01-01T00:00:00.500000+00:00",
    "2025-06-04T23:59:60-03:00": "2025-06-05T03:00:00+00:00",
    "2025-06-04T23:59:60": "2025-06-05T00:00:00+00:00",
    "20161231T235960Z": "2017-01-01T00:00:00+00:00",
    "2025-06-04T24:00:00Z": "2025-06-05T00:00:00+00:00",
    "2025-06-04T24:00Z": "2025-06-05T00:00:00+00:00",
    "2025-06-04T24:00:00.000Z": "2025-06-05T00:00:00+00:00",
    "2024-02-28T24:00:00+00:00": "2024-02-29T00:00:00+00:00",
    "20250604T240000-03": "2025-06-05T03:00:00+00:00",
    # ISO 8601 beyond RFC 3339: no offset, the basic form, fewer parts, fractions of any of them.
    "2025-06-04T14:20:05": "2025-06-04T14:20:05+00:00",
    "20250604T142005Z": "2025-06-04T14:20:05+00:00",
    "20250604T142005,25+0300": "2025-06-04T11:20:05.250000+00:00",
    "20250604T14:20:05Z": "2025-06-04T14:20:05+00:00",
    "2025-06-04T142005Z": "2025-06-04T14:20:05+00:00",
    "2025-06-04T14:20:05,5Z": "2025-06-04T14:20:05.500000+00:00",
    "2025-06-04T14:20.5Z": "2025-06-04T14:20:30+00:00",
    "2025-06-04T1420,25Z": "2025-06-04T14:20:15+00:00",
    "2025-06-04T14.5Z": "2025-06-04T14:30:00+00:00",
    "2025-06-04T14,00001Z": "2025-06-04T14:00:00.036000+00:00",
    "2025-06-04T14:20Z": "2025-06-04T14:20:00+00:00",
    "2025-06-04T14Z": "2025-06-04T14:00:00+00:00",
    "2025-06-04T14-03": "2025-06-04T17:00:00+00:00",
    "2025-W23-3T14:20:05Z": "2025-06-04T14:20:05+00:00",
    "2025W233T142005Z": "2025-06-04T14:20:05+00:00",
    "2020-W53-5T00:00:00Z": "2021-01-01T00:00:00+00:00",
    "2025-155T14:20:05Z": "2025-06-04T14:20:05+00:00",
    "2025155T142005Z": "2025-06-04T14:20:05+00:00",
    "2024-366T00:00:00Z": "2024-12-31T00:00:00+00:00",
    # The ends of the calendar.
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999+00:00",
    "9999-12-31T23:59:59.9999994Z": "9999-12-31T23:59:59.999999+00:00",
}

REJECTED = {
    "": NOT_A_MOMENT,
    "yesterday": NOT_A_MOMENT,
    "1749046805": NOT_A_MOMENT,
    "2025-06-04": NOT_A_MOMENT,
    "14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T": NOT_A_MOMENT,
    "2025-06T14:20:05Z": NOT_A_MOMENT,
    "2025-06-04🏠14:20:05Z": NOT_A_MOMENT,
    "2025-06-04_14:20:05Z": NOT_A_MOMENT,
    "2025-06-04  14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05 Z": NOT_A_MOMENT,
    " 2025-06-04T14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05Z\n": NOT_A_MOMENT,
    "2025-06-04T14:20:05Z ": NOT_A_MOMENT,
    "\uff12\uff10\uff12\uff15-06-04T14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05.\u0665Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05\u221203:00": NOT_A_MOMENT,
    "2025-06-04T14:20:05.Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05.5.5Z": NOT_A_MOMENT,
    "2025-06-04T14:2005Z": NOT_A_MOMENT,
    "2025-06-04T1420:05Z": NOT_A_MOMENT,
    "2025-0604T14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T14:20:5Z": NOT_A_MOMENT,
    "2025-6-4T14:20:05Z": NOT_A_MOMENT,
    "2025-W233T14:20:05Z": NOT_A_MOMENT,
    "2025-W23T14:20:05Z": NOT_A_MOMENT,
    "2025-W23-8T14:20:05Z": NOT_A_MOMENT,
    "2025-06-04T25:00:00Z": NOT_A_MOMENT,
    "2025-06-04T24:00:01Z": NOT_A_MOMENT,
    "2025-06-04T24:00:00.5Z": NOT_A_MOMENT,
    "2025-06-04T24:01Z": NOT_A_MOMENT,
    "2025-06-04T24.1Z": NOT_A_MOMENT,
    "2025-06-04T24:59:60Z": NOT_A_MOMENT,
    "2025-06-04T14:60:00Z": NOT_A_MOMENT,
    "2025-06-04T14:20:61Z": NOT_A_MOMENT,
    "2025-06-04T14:20:05+24:00": NOT_A_MOMENT,
    "2025-06-04T14:20:05-24:00": NOT_A_MOMENT,
    "2025-06-04T14:20:05+03:60": NOT_A_MOMENT,
    "2025-06-04T14:20:05+3": NOT_A_MOMENT,
    "2025-06-04T14:20:05+03:00:00": NOT_A_MOMENT,
    "2025-06-04T14:20:05+03.5": NOT_A_MOMENT,
    "2025-06-04T14:20:05Z+03:00": NOT_A_MOMENT,
    "2025-06-04T14:20:05 GMT": NOT_A_MOMENT,
    "+002025-06-04T14:20:05Z": NOT_A_MOMENT,
    "-0001-06-04T14:20:05Z": NOT_A_MOMENT,
    "10000-01-01T00:00:00Z": NOT_A_MOMENT,
    "2025-06-04T14:20:60Z": NO_LEAP_SECOND,
    "2025-06-04T23:58:60Z": NO_LEAP_SECOND,
    "2025-06-04T00:00:60Z": NO_LEAP_SECOND,
    "2025-13-01T00:00:00Z": NO_SUCH_DAY,
    "2025-00-10T00:00:00Z": NO_SUCH_DAY,
    "2025-02-30T00:00:00Z": NO_SUCH_DAY,
    "2025-02-29T24:00:00Z": NO_SUCH_DAY,
    "2025-06-00T00:00:00Z": NO_SUCH_DAY,
    "2025-W53-1T00:00:00Z": NO_SUCH_DAY,
    "2025-W00-1T00:00:00Z": NO_SUCH_DAY,
    "2025-366T00:00:00Z": NO_SUCH_DAY,
    "2025-000T00:00:00Z": NO_SUCH_DAY,
    "0000-01-01T00:00:00Z": OUT_OF_RANGE,
    "0000-12-31T23:59:60Z": OUT_OF_RANGE,
    "0001-01-01T00:00:00+14:00": OUT_OF_RANGE,
    "9999-12-31T23:59:59-14:00": OUT_OF_RANGE,
    "9999-12-31T23:59:60Z": OUT_OF_RANGE,
    "9999-12-31T24:00:00Z": OUT_OF_RANGE,
    "9999-12-31T23:59:59.9999995Z": OUT_OF_RANGE,
}


def pythons() -> list[str]:
    """Python 3.11 to 3.13, as far as they are at hand: on the PATH, or pyenv's."""
    found = []
    for version in ("3.11", "3.12", "3.13"):
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}*/bin/python")]
        works = (str(each) for each in candidates if each and _runs(str(each)))
        found += list(works)[:1]
    return found or [sys.executable]


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("text", TAKEN)
def test_what_the_profile_has_is_read_as_it_is_meant(text: str) -> None:
    moment = parse_moment(text)
    assert moment.isoformat() == TAKEN[text]
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", REJECTED)
def test_anything_else_is_rejected_with_its_reason(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(REJECTED[text])}$"):
        parse_moment(text)


@pytest.mark.parametrize("python", pythons())
def test_every_python_reads_the_same(python: str) -> None:
    texts = [*TAKEN, *REJECTED]
    done = subprocess.run(
        [python, str(Path(__file__).with_name("moments_read.py")), moments.__file__],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [*TAKEN.values(), *(f"rejected: {reason}" for reason in REJECTED.values())]
    assert dict(zip(texts, json.loads(done.stdout), strict=True)) == dict(zip(texts, expected, strict=True))


_moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 (hypothesis wants it without a zone)
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(_moments)
def test_the_usual_form_is_read_as_the_general_one_is(moment: datetime) -> None:
    """Python reads the usual form; the same with a small t is ours to read."""
    text = moment.isoformat()
    assert parse_moment(text) == parse_moment(text.replace("T", "t")) == moment


@given(st.dates(), st.times())
def test_a_day_is_the_same_by_month_by_week_and_by_its_number(day: date, at: time) -> None:
    year, week, weekday = day.isocalendar()
    by_month = parse_moment(f"{day.isoformat()}T{at}")
    assert by_month == parse_moment(f"{day.year:04}-{day.timetuple().tm_yday:03}T{at}")
    if 1 <= year <= 9999:
        assert by_month == parse_moment(f"{year:04}-W{week:02}-{weekday}T{at}")


@given(st.text(st.sampled_from("0123456789-:.,TtZzW+ "), max_size=40) | st.text())
def test_no_text_whatever_makes_it_fall_over(text: str) -> None:
    with suppress(ValueError):
        parse_moment(text)
