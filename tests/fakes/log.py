"""The reader's side of ``$FAKE_LOG``: what a fake says happened to it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import wait_for


class FakeLog:
    """One fake's log file.

    :param path: the file that was given to the fake as ``FAKE_LOG``; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the logged events in order, only those called *name* when one is given."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in whole if name is None or event["event"] == name]

    def typed(self) -> bytes:
        """Return every byte that reached the fake's terminal so far."""
        return b"".join(event["data"].encode("latin-1") for event in self.events("bytes"))

    def entered(self) -> list[str]:
        """Return the messages that were submitted to the fake, in order."""
        return [event["text"] for event in self.events("entered")]

    def said(self) -> list[str]:
        """Return the lines that the fake meant as its answers, in order."""
        return [event["text"] for event in self.events("said")]

    def wait(self, what: str, condition: Callable[[FakeLog], object], timeout: float = 30) -> None:
        """Wait until *condition* of this log holds.

        :raises TimeoutError: it did not within *timeout* seconds; the text says *what* was waited for.
        """
        wait_for(what, lambda: condition(self), timeout)

    def living(self) -> list[int]:
        """Return the processes that logged their start (the fake and its children) and are still alive."""
        facts = [*self.events("started"), *self.events("child")]
        return sorted({row["pid"] for row in facts if is_alive(row["pid"], row["ticks"])})

    def kill_all(self) -> None:
        """End every process that the log names; one that is gone already, or whose number is another's, is left alone."""
        for pid in self.living():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def is_alive(pid: int, ticks: int) -> bool:
    """Return whether the process *pid* that started at *ticks* (clock ticks since boot) runs; a zombie does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[19]) == ticks
