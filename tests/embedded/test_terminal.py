"""Programs that end before anybody looks at them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from agentproxy.embedded.pipes import Pipes
from agentproxy.embedded.terminal import Terminal

Ended = Callable[[int | None, int | None], None]


def _dead_at_once(make: Callable[..., int]) -> Callable[..., int]:
    """Return *make*, which makes a process, so that it returns when the process is dead."""

    def made(*given: Any, **named: Any) -> int:
        pid = make(*given, **named)
        if pid:  # a fork returns 0 in the child
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    return made


@pytest.mark.parametrize("kind", [Terminal, Pipes])
@pytest_twisted.ensureDeferred
async def test_a_program_that_is_dead_before_it_is_watched(
    kind: Callable[[Callable[[bytes], None], Ended], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words and its exit status are told, after its start."""
    monkeypatch.setattr(os, "posix_spawn", _dead_at_once(os.posix_spawn))
    monkeypatch.setattr(os, "fork", _dead_at_once(os.fork))
    said: list[bytes] = []
    end: Deferred[tuple[int | None, int | None]] = Deferred()
    one = kind(said.append, lambda code, number: end.callback((code, number)))
    one.start(reactor, [sys.executable, "-c", "print('bye'); raise SystemExit(3)"], dict(os.environ), 80, 24)
    assert not end.called
    assert await end.addTimeout(30, reactor) == (3, None)  # type: ignore[arg-type]
    assert b"bye" in b"".join(said)
    assert not one.alive
