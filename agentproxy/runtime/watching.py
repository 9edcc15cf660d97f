"""Watching a process through a pidfd in the reactor: that it ended, and how, for children and adopted ones alike.

The status of a child is peeked at, not taken: until :meth:`Watch.reap` the dead process keeps its id, so that its
process group can be signalled without hitting a stranger. A process that is not our child says how it ended in the
record that it writes itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from agentproxy.model.adoption import EndRecord
from agentproxy.model.session import ExitStatus
from agentproxy.runtime.moments import Moment
from agentproxy.runtime.plain_files import read_plain

MOST_OF_RECORD = 1 << 20
_TO_THE_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9


def read_start_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, or None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def read_boot_id() -> str:
    """Return the id of this boot: start ticks mean something only together with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, ``SIG40`` where there is no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def read_end_record(path: Path) -> EndRecord | None:
    """Return what an agent server wrote of its own end, or None when there is no readable record."""
    try:
        told = json.loads(read_plain(path, MOST_OF_RECORD))
        code, name = told["exit"]["code"], told["exit"]["signal"]
        status = ExitStatus(code if isinstance(code, int) else None, name if isinstance(name, str) else None)
        return EndRecord(status, told["reason"] == "stopped")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


@implementer(IReadDescriptor)
class Watch:
    """One watched process.

    :param end_record: where the process writes how it ended, for those that are not our children.
    :raises ProcessLookupError: there is no such process.
    """

    def __init__(self, reactor: Any, pid: int, end_record: Path | None = None) -> None:
        self.pid = pid
        self.exit: ExitStatus | None = None
        self._reactor = reactor
        self._end_record = end_record
        self._ended: Moment[ExitStatus] = Moment()
        self._pidfd = os.pidfd_open(pid)
        reactor.addReader(self)

    def when_ended(self) -> Deferred[ExitStatus]:
        """Return a Deferred that fires when the process has ended; cancelling it forgets it."""
        return succeed(self.exit) if self.exit is not None else self._ended.wait()

    def on_ended(self, call: Callable[[ExitStatus], None]) -> None:
        """Call ``call`` once, when the process has ended."""
        self.when_ended().addCallback(call)

    def signal(self, number: int) -> bool:
        """Send a signal to the process alone; return False when it is gone."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except (ProcessLookupError, OSError):
            return False
        return True

    def signal_group(self, number: int) -> bool:
        """Send a signal to the process group that the process leads; return False when it is gone.

        It goes through the pidfd, so that a stranger who was given the number of a dead process is never hit.
        """
        try:
            signal.pidfd_send_signal(self._pidfd, number, None, _TO_THE_GROUP)
        except OSError as error:
            return error.errno == errno.EINVAL and self._signal_group_by_number(number)
        return True

    def _signal_group_by_number(self, number: int) -> bool:
        if not self.signal(0):
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        return True

    def reap(self) -> None:
        """Let the kernel forget a child that has ended; twice without harm."""
        if self._pidfd >= 0:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        self.close()

    def close(self) -> None:
        """Watch no more and leave the process as it is; twice without harm. Who waits for its end waits in vain."""
        if self._pidfd < 0:
            return
        self._reactor.removeReader(self)
        os.close(self._pidfd)
        self._pidfd = -1

    def fileno(self) -> int:
        """Return the pidfd: it becomes readable when the process ends."""
        return self._pidfd

    def logPrefix(self) -> str:
        """Return the name that the reactor logs."""
        return f"process {self.pid}"

    def doRead(self) -> None:
        """Note the end and tell everybody who waits for it."""
        self._reactor.removeReader(self)
        self.exit = self._status()
        self._ended.come(self.exit)

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: a pidfd has no connection, the reactor calls this only while it stops."""

    def _status(self) -> ExitStatus:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            result = None
        if result is None:
            record = read_end_record(self._end_record) if self._end_record is not None else None
            return record.exit if record is not None else ExitStatus()
        if result.si_code == os.CLD_EXITED:
            return ExitStatus(code=result.si_status)
        return ExitStatus(signal=signal_name(result.si_status))
