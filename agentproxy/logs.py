"""The server's log: which lines are written, where, and in which form.

`text` is twisted's own line; behind the logger stand `request=` and, where the sentence does not name it, `session=`. `json` is
one object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, `request` and `session` where they are known, the other
named facts of the sentence as `facts`, and `failure` with the traceback where there is one. Where the log goes is twistd's
business (`--logfile`, `--nodaemon`); its `--syslog` and `--logger` keep their own form, and so does `twist`.

`request` is the id of the request in which a line was written, or that began the work which wrote it; the answer to that request
has it as `X-Request-ID`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

_IDS = {"request": "request", "session": "session", "session_id": "session"}
"""Facts that are ids, and what they are called in a line."""
_known: ContextVar[Mapping[str, str]] = ContextVar("ids")


def about(**ids: str | None) -> None:
    """Let the lines that are written from here on, in this coroutine and what it starts, have these ids; None is none."""
    _known.set({name: value for name, value in ids.items() if value is not None})


def _ids(event: LogEvent) -> dict[str, str]:
    """Return the ids of an event: its own, else those of the work that wrote it."""
    own = {_IDS[name]: str(event[name]) for name in _IDS if event.get(name) is not None}
    return {**_known.get({}), **own}


def text_line(event: LogEvent) -> str | None:
    """Return one event as text, None when there is nothing to say."""
    ids = _ids(event)
    said = formatEvent(event)
    shown = "".join(f" {name}={value}" for name, value in sorted(ids.items()) if value not in said)
    if not shown:
        return formatEventAsClassicLogText(event)
    level = event.get("log_level")
    system = event.get("log_system") or f"{event.get('log_namespace', '-')}#{level.name if level else '-'}"
    return formatEventAsClassicLogText({**event, "log_system": f"{system}{shown}"})


@implementer(ILogObserver)
class JsonLines:
    """Writes each event as a JSON object on its own line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        self._file.write(json_line(event) + "\n")
        self._file.flush()


def json_line(event: LogEvent) -> str:
    """Return one event as a JSON object in one line."""
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0), UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace") or event.get("system") or "-",
        "message": formatEvent(event) or eventAsText(event, includeTimestamp=False, includeSystem=False),
    }
    ids = _ids(event)
    facts = {name: _simple(value) for name, value in event.items() if not _internal(name) and name not in _IDS}
    if event.get("log_failure") is not None:
        line["failure"] = event["log_failure"].getTraceback()
    return json.dumps({**line, **ids, **({"facts": facts} if facts else {})}, ensure_ascii=True)


def _internal(name: str) -> bool:
    return name.startswith("log_") or name in ("message", "time", "system", "format", "isError", "failure", "why")


def _simple(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


@implementer(ILogObserver)
class Log:
    """The observer that writes the log; its level can be changed while it runs.

    :param writing: what writes an event.
    :param level: the least important level that is written.
    """

    def __init__(self, writing: ILogObserver, level: str) -> None:
        self._wanted = LogLevelFilterPredicate(LogLevel.lookupByName(level))
        self._filtering = FilteringLogObserver(writing, [self._wanted])

    def __call__(self, event: LogEvent) -> None:
        """Write one event, if it is important enough."""
        self._filtering(event)

    def set_level(self, level: str) -> None:
        """Write events of this level and more important ones from now on."""
        self._wanted.defaultLogLevel = LogLevel.lookupByName(level)
        self._wanted.clearLogLevels()


def observer(options: Any, kind: str, level: str) -> Log | None:
    """Return the observer that writes the log, or None where twistd (or `twist`) shall make its own.

    :param options: the plugin's; its parent says where twistd logs to.
    :param kind: `text` or `json`.
    :param level: the least important level that is written.
    """
    parent: Mapping[str, Any] | None = getattr(options, "parent", None)
    if parent is None or "nodaemon" not in parent or parent.get("syslog") or parent.get("logger"):
        return None
    file = _file(parent)
    writing = JsonLines(file) if kind == "json" else FileLogObserver(file, text_line)
    return Log(writing, level)


def _file(parent: Mapping[str, Any]) -> Any:
    """Return the file that twistd would write to; like there, SIGUSR1 begins a new one unless it has another meaning."""
    name = parent.get("logfile")
    if parent["nodaemon"] and name in (None, "", "-"):
        return sys.stdout
    if name == "-":
        sys.exit("agentproxy: a daemon cannot log to stdout; give --logfile or --nodaemon")
    file = LogFile.fromFullPath(name or "twistd.log")
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda _number, _frame: _rotate(file))
    return file


def _rotate(file: Any) -> None:
    from twisted.internet import reactor

    cast(Any, reactor).callFromThread(file.rotate)
