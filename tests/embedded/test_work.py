"""What counts as silent work of an agent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agentproxy.embedded.work import Use, use_of
from tests.waiting import wait_for

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]]); print(flush=True); input()"


@contextmanager
def parent_of(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose child runs a Python program; it writes a line when that has ended, and ends at the end of its input."""
    argv = [sys.executable, "-c", PARENT, program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("before", "after", "is_work"),
    [
        (Use(1, 1, False), Use(1.1, 1.01, False), False),
        (Use(1, 1, False), Use(1.3, 1, False), True),
        (Use(1, 1, False), Use(1, 1.02, False), True),
        (Use(1, 1, False), Use(1, 1, True), False),
        (Use(1, 1, True), Use(1, 1, False), False),
        (Use(1, 1, True), Use(1, 1, True), True),
    ],
    ids=["draws", "computes", "a child computes", "wakes", "goes to sleep", "gets no processor"],
)
def test_what_is_work(before: Use, after: Use, is_work: bool) -> None:
    """Half a second of each."""
    assert after.is_work_since(before, 0.5) is is_work


def test_what_a_child_computed_is_known_when_it_has_ended() -> None:
    """What it used is found in its own figures, later in those of its parent."""
    with parent_of("import time\nwhile time.process_time() < 0.3: pass") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert use_of(process.pid).is_work_since(Use(0, 0, False), 0.5)


def test_a_child_that_waits_is_no_work() -> None:
    """A server of tools that an agent keeps beside it does not keep its session from getting stable."""
    with parent_of("print(flush=True); input()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for("the child to sleep", lambda: not use_of(process.pid).runnable)
        before = use_of(process.pid)
        assert not use_of(process.pid).is_work_since(before, 0.5)
