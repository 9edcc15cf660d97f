"""What an agent server printed: a log file with a bounded size, its last lines, and what comes behind them.

The writer holds the file by descriptor with ``O_APPEND``, so the file is rotated by copying and truncating; what is
written between the two steps is lost.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from agentproxy.runtime.plain_files import open_plain

_CONTROL = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and other strings
    rb"|\x1b[ -/]*[0-~]"
    rb"|[\x00-\x08\x0b-\x1f\x7f]"
)


def plain(data: bytes) -> str:
    """Return printed bytes as text without control sequences; only line ends and tabs stay."""
    return _CONTROL.sub(b"", data.replace(b"\r\n", b"\n")).decode("utf-8", "replace")


class OutputLog:
    """The log of one session.

    :param path: the file; its older part is beside it with ``.1``.
    :param limit: bytes at which :meth:`rotate` acts.
    """

    def __init__(self, path: Path, limit: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self.older = path.with_name(path.name + ".1")
        self._limit = limit

    @property
    def size(self) -> int:
        """Return the bytes in the newest part, 0 when there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def rotate(self) -> bool:
        """Move what was printed into the older part when it is too much; return whether it was. Call it in a thread."""
        if self.size <= self._limit:
            return False
        shutil.copyfile(self.path, self.older)
        os.truncate(self.path, 0)
        return True

    def tail(self, size: int = 64 * 1024) -> bytes:
        """Return the last ``size`` bytes, over both parts."""
        newest = _tail(self.path, size)
        if len(newest) < size:
            return _tail(self.older, size - len(newest)) + newest
        return newest

    def end(self, size: int, lines: int | None = None) -> tuple[bytes, int]:
        """Return the last ``size`` bytes, at most ``lines`` lines of them, and the offset behind them in the newest part."""
        try:
            with open(open_plain(self.path), "rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - size)
                file.seek(start)
                data = file.read(size)
        except OSError:
            start, data = 0, b""
        older = _tail(self.older, size - len(data)) if start == 0 else b""
        return last_rows(older + data, lines), start + len(data)

    def last_lines(self, count: int = 50) -> tuple[str, ...]:
        """Return the last lines that say something, oldest first, as plain text."""
        lines = [line.rstrip() for line in plain(self.tail()).split("\n")]
        return tuple(line[:2000] for line in lines if line)[-count:]

    def read_after(self, offset: int, size: int = 64 * 1024) -> tuple[bytes, int]:
        """Return what stands behind ``offset`` and the next offset; one behind the end (rotated) begins again at 0."""
        if offset > self.size:
            offset = 0
        try:
            with open(open_plain(self.path), "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError:
            return b"", 0
        return data, offset + len(data)


def last_rows(data: bytes, count: int | None) -> bytes:
    """Return the last ``count`` lines of ``data`` with their line ends; all of it without a count."""
    if count is None:
        return data
    return b"".join(data.splitlines(keepends=True)[-count:]) if count else b""


def _tail(path: Path, size: int) -> bytes:
    try:
        with open(open_plain(path), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - size))
            return file.read(size)
    except OSError:
        return b""
