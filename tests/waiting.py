"""Waiting in blocking tests: for a fact of the world outside, with a deadline and a sentence when it never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: str, condition: Callable[[], T], timeout: float = 30, interval: float = 0.01) -> T:
    """Return the first true value of *condition*, looked at every *interval* seconds.

    For facts that announce themselves nowhere (a file, a process table); where there is an event, wait on that.

    :raises TimeoutError: it stayed false for *timeout* seconds; the text says *what* was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout} s")
        time.sleep(interval)
