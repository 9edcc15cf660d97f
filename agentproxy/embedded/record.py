"""A recording of the terminal: asciicast v2, in files of a bounded size that each begin with a clean screen and play by themselves.

``FILE`` is the newest; ``FILE.1`` is the one before it, and so on.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

FLUSH_AFTER = 0.5
FLUSH_BYTES = 64 * 1024


class Recorder:
    """Writes what the agent draws to *path*.

    :param size: returns width and height in cells.
    :param picture: returns the bytes that draw the present screen.
    :param most: bytes after which a new file begins.
    :param keep: how many older files stay.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        clock: Any,
        size: Callable[[], tuple[int, int]],
        picture: Callable[[], bytes],
        most: int,
        keep: int,
    ) -> None:
        self._path, self._clock, self._size, self._picture, self._most, self._keep = (
            path,
            clock,
            size,
            picture,
            most,
            keep,
        )
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._pending: list[str] = []
        self._bytes = 0
        self._written = 0
        self._file: Any = None
        self._flush: Any = None
        self._began = 0.0
        self._begin(b"")

    def _begin(self, picture: bytes) -> None:
        """Open a new file; what it opens with is the screen so far.

        :raises OSError: it cannot be written.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace")
        self._began, self._written = self._clock.seconds(), 0
        width, height = self._size()
        head = {
            "version": 2,
            "width": width,
            "height": height,
            "timestamp": int(self._began),
            "env": {"TERM": "xterm-256color"},
        }
        self._pending.append(json.dumps(head))
        if picture:
            self._event("o", picture.decode("utf-8", "replace"))

    def tap(self, data: bytes) -> None:
        """Record what the agent drew."""
        if text := self._decode(data):
            self._event("o", text)

    def resized(self) -> None:
        """Record that the terminal has another size."""
        width, height = self._size()
        self._event("r", f"{width}x{height}")

    def _event(self, kind: str, text: str) -> None:
        if self._file is None:
            return
        line = json.dumps([round(self._clock.seconds() - self._began, 6), kind, text], ensure_ascii=False)
        self._pending.append(line)
        self._bytes += len(line)
        if self._bytes >= FLUSH_BYTES:
            self.flush()
        elif self._flush is None:
            self._flush = self._clock.callLater(FLUSH_AFTER, self.flush)

    def flush(self) -> None:
        """Write what is pending; begin a new file when this one is full. A disk that takes nothing ends the recording."""
        if self._flush is not None and self._flush.active():
            self._flush.cancel()
        self._flush = None
        pending, self._pending = self._pending, []
        self._bytes = 0
        if self._file is None or not pending:
            return
        try:
            self._written += self._file.write("\n".join(pending) + "\n")
            self._file.flush()
            if self._written >= self._most:
                self._rotate()
        except OSError as error:
            self._log.error("The recording at {path} ends: {error}", path=self._path, error=error)
            self._file = None

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            with suppress(FileNotFoundError):
                os.replace(older, f"{self._path}.{number}")
        self._begin(self._picture())

    def close(self) -> None:
        """Write what is left and end; twice does no harm."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
