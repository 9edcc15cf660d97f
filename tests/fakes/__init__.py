"""Scripted terminal programs that stand in for an agent, one name per behaviour.

They are real programs in real terminals: a test gives :func:`fake_command` to a real agent server and judges by what
the fake itself logged (:class:`tests.fakes.log.FakeLog`), not only by what the server says. ``README.md`` beside this file
lists every name with its arguments.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.fakes.names import NAMES

_PROGRAM = Path(__file__).resolve().parent / "program.py"

LOG_VARIABLE = "FAKE_LOG"
"""Environment variable: the file that a fake appends to what was typed into it, what it started and how it ended."""


def fake_command(name: str, *args: object) -> list[str]:
    """Return the argv that runs the fake *name*.

    :param name: a row of :data:`tests.fakes.names.NAMES`, or ``wrapper``, whose arguments are the name and the arguments
        of another fake, which then runs below ``sh -c '...; true'``.
    :param args: its arguments; numbers are written as they are.
    :raises KeyError: there is no such fake.
    """
    if name == "wrapper":
        inner, *rest = args
        return ["sh", "-c", shlex.join(fake_command(str(inner), *rest)) + "; true"]
    if name not in NAMES:
        raise KeyError(f"no fake is called {name!r}; there are {', '.join(sorted(NAMES))}")
    return [sys.executable, "-S", "-E", str(_PROGRAM), name, *map(str, args)]
