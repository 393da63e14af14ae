"""The parameters of a query string. A slip must not list everything, so what is not known is an error that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from realmate.wire.openapi import Parameter
from realmate.wire.responses import FieldError, Response, problem

T = TypeVar("T")
U = TypeVar("U")


class InvalidQuery(Exception):
    """The query string is wrong."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.response: Response = problem(
            400, "invalid_query", "The query string is not valid; `errors` says why.", errors=tuple(errors)
        )


ID = Parameter("id", {"type": "string"}, "The conversation, as a UUID.", place="path")
SOURCE = Parameter("source", {"type": "string"}, "The source, where several have a conversation of this id.")
INVALID_QUERY = InvalidQuery([FieldError("limit", "must be a whole number from 1 to 200")]).response
"""This is an example, for the API's document."""


def links(following: str | None) -> tuple[tuple[str, str], ...]:
    """Return the header that leads to the next page, if there is one."""
    return (("Link", f'<{following}>; rel="next"'),) if following else ()


class Parameters:
    """The parameters of one request. Take each with `one` or `several`, then call `check`."""

    def __init__(self, query: str, known: Sequence[str] | None) -> None:
        """`known` are the names of all parameters; None: others may be there, too."""
        self._given: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._given.setdefault(name, []).append(value)
        self._errors = [
            FieldError(name, f"is not known here; known are {', '.join(known or ())}")
            for name in self._given
            if known is not None and name not in known
        ]

    def one(self, name: str, read: Callable[[str], T], default: T) -> T:
        """Return the parameter's value as `read` makes it. `read` raises ValueError with what the value must be."""
        values = self._given.get(name, [])
        if len(values) > 1:
            self._errors.append(FieldError(name, "is given more than once"))
        elif values:
            found = self._read(name, values, read)
            return found[0] if found else default
        return default

    def header(self, name: str, value: str, read: Callable[[str], T], default: U) -> T | U:
        """Return what a header says, which belongs to the query. A wrong one is named as a parameter would be."""
        found = self._read(name, [value], read)
        return found[0] if found else default

    def several(self, name: str, read: Callable[[str], T], most: int) -> frozenset[T] | None:
        """Return the values of a parameter that may be repeated; None where it is not given."""
        values = self._given.get(name)
        if values is None:
            return None
        if len(values) > most:
            self._errors.append(FieldError(name, f"is given {len(values)} times; {most} are the most"))
            return None
        return frozenset(self._read(name, values, read))

    def all(self, name: str) -> list[str]:
        """Return the values of a parameter as they were given."""
        return self._given.get(name, [])

    def sources(self, readable: frozenset[str] | None, most: int) -> frozenset[str] | None:
        """Return the parameter `source`, as far as the reader may read these sources; None: all."""
        named = self.several("source", storable, most)
        return named if readable is None else readable if named is None else named & readable

    def but(self, **changed: object) -> str:
        """Return the query string with some parameters changed."""
        return urlencode(self._given | {name: [value] for name, value in changed.items()}, doseq=True)

    def check(self) -> None:
        """Raise InvalidQuery, with all that was wrong, if anything was."""
        if self._errors:
            raise InvalidQuery(self._errors)

    def _read(self, name: str, values: Sequence[str], read: Callable[[str], T]) -> list[T]:
        found = []
        for value in values:
            try:
                found.append(read(value))
            except ValueError as error:
                self._errors.append(FieldError(name, str(error)))
        return found


def storable(text: str) -> str:
    """Read any text that the database can hold: it knows no NUL."""
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """Return a reader of numbers within these bounds."""

    def read(text: str) -> float:
        wrong = ValueError(f"must be a number from {lowest:g} to {highest:g}")
        try:
            value = float(text)
        except ValueError:
            raise wrong from None
        if not lowest <= value <= highest:
            raise wrong
        return value

    return read


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within these bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not lowest <= int(text[:12]) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(text)

    return read


def choice(values: Mapping[str, T]) -> Callable[[str], T]:
    """Return a reader of one of these words."""

    def read(text: str) -> T:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return values[text]

    return read
