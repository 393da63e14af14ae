"""The `--wait` option: a command waits for a server that does not answer yet.

A new pod's first connections may be refused until every NetworkPolicy knows its address, and a server may still be
starting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from realmate.errors import UserError

T = TypeVar("T")

VARIABLE = "REALMATE_WAIT_S"
PAUSE_S = 1.0
_KEY = "realmate.wait_s"


def wait_option(default_s: float = 0.0) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--wait SECONDS`, which `wait_s()` returns while the command runs."""
    return click.option(
        "--wait",
        default=default_s,
        show_default=True,
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        envvar=VARIABLE,
        show_envvar=True,
        expose_value=False,
        callback=_keep,
        help="So long to wait for a server that does not answer yet.",
    )


def _keep(context: click.Context, _option: click.Parameter, seconds: float) -> None:
    context.meta[_KEY] = seconds


def wait_s() -> float:
    """Return what `--wait` says for the command that runs; 0 where it has no such option."""
    seconds: float = click.get_current_context().meta.get(_KEY, 0.0)
    return seconds


def patiently(attempt: Callable[[], T], patience_s: float) -> T:
    """Return what `attempt` returns.

    It is tried again for `patience_s` while it raises `passing`; stderr tells each try.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return attempt()
        except UserError as error:
            if not error.may_pass or time.monotonic() >= give_up_at:
                raise
            click.echo(f"Not yet ({error}); trying again ...", err=True)
            time.sleep(PAUSE_S)
