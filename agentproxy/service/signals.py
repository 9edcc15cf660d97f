"""What signals do to the daemon: they end it, kill what is left, or let it read its configuration again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def take_signals(reactor: Any, kill_all: Callable[[], None], reload: Callable[[], None]) -> None:
    """Let SIGTERM and SIGINT end the daemon as before, and SIGHUP reload it.

    To be called in the main thread, when the reactor has put its own handlers up.

    :param kill_all: called in the reactor when a signal that ends the daemon comes again.
    :param reload: called in the reactor.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _second_kills(reactor, before, kill_all))
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))


def _second_kills(reactor: Any, before: Any, kill_all: Callable[[], None]) -> Callable[[int, Any], None]:
    seen = False

    def on_signal(number: int, frame: Any) -> None:
        nonlocal seen
        if not seen:
            seen = True
            before(number, frame)
        else:
            reactor.callFromThread(kill_all)

    return on_signal
