"""Which network a fenced session has: this machine's, one of its own with a way out, or none; and what can be had here.

docs/security.md says what each of them stops and what not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentproxy.runtime import private_network

Kind = Literal["shared", "private", "none"]
TRIALS = 3
TRIAL = 30.0
"""Seconds that a fence may take to be put up once."""


@dataclass(frozen=True, slots=True)
class Network:
    """What bubblewrap is told of the network.

    :param slirp: the program slirp4netns, for ``private``.
    """

    kind: Kind = "shared"
    slirp: str = ""

    def front(self) -> tuple[str, ...]:
        """Return the words in front of bubblewrap."""
        script = private_network.__file__
        return (sys.executable, "-I", "-S", script, self.slirp) if self.kind == "private" else ()

    def words(self) -> tuple[str, ...]:
        """Return bubblewrap's own words."""
        return () if self.kind == "shared" else ("--unshare-net",)


SHARED_NETWORK = Network()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A network, and the sentence for the operator when it is not the one that was hoped for."""

    network: Network
    sentence: str | None = None


SHARED = "Sessions share this machine's network, the ports of its loopback included: {why}; see sessions.network."


def choose(
    choice: str,
    has_door: bool,
    trial: Callable[[Network], str | None],
    which: Callable[[str], str | None] = shutil.which,
) -> Chosen:
    """Return the network of a configuration's choice, for sessions behind bubblewrap. Blocking.

    :param choice: ``auto``, ``shared``, ``private`` or ``none``.
    :param has_door: whether the agent server is ours, which can listen on a UNIX socket; another one needs a port.
    :param trial: says why a fence with that network cannot be put up here, or None.
    :raises ValueError: what was asked for cannot be had; the text says why and what helps.
    """
    if choice == "shared":
        return Chosen(SHARED_NETWORK)
    wanted = Network("none") if choice == "none" else Network("private", which("slirp4netns") or "")
    why = _obstacle(wanted, has_door) or trial(wanted)
    if why is None:
        return Chosen(wanted)
    if choice == "auto":
        return Chosen(SHARED_NETWORK, SHARED.format(why=why))
    raise ValueError(f"sessions.network: {choice} cannot be had: {why}")


def _obstacle(wanted: Network, has_door: bool) -> str | None:
    if not has_door:
        return "agentapi listens on a port; agent_server: embedded listens on a socket"
    if wanted.kind == "private" and not wanted.slirp:
        return "install slirp4netns"
    return None


def trial(argv: tuple[str, ...]) -> str | None:
    """Return why a program cannot be run to its end, None when it can within three trials. Blocking.

    bubblewrap fails when somebody takes a mount away at the moment when it looks at all of them.
    """
    why: str | None = None
    for _number in range(TRIALS):
        why = _trial(argv)
        if why is None:
            return None
    return why


def _trial(argv: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL, cwd=Path("/"))
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = [line.strip() for line in done.stderr.decode("utf-8", "replace").strip().split("\n")]
    return None if done.returncode == 0 else " ".join(said[-2:]) or f"status {done.returncode}"
