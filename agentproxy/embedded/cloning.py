"""A fork whose child is nobody's grandchild: its parent is ours, and it is born in a cgroup.

A process that moves into a cgroup waits for the kernel to agree with every processor, some ten milliseconds on a quiet machine. One
that is born there (``clone3`` with ``CLONE_INTO_CGROUP``, Linux 5.7) does not wait. ``CLONE_PARENT`` saves the second fork that
makes an orphan of a process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

_SYS_CLONE3 = 435
"""On every architecture: calls that are so young have one number."""
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID, _CLONE_INTO_CGROUP = 0x8000, 0x200000, 0x1000000, 0x200000000
_FLAGS, _CHILD_TID, _CGROUP, _FIELDS = 0, 2, 10, 11
"""Places in the kernel's ``struct clone_args``, and how many of 64 bits it has."""
_PR_GET_TID_ADDRESS = 40


def fork_beside(cgroup: str | None) -> int:
    """Fork as :func:`os.fork` does, but the child is a child of our parent, who learns how it ends.

    The child is made past the C library: the kernel writes its thread id where the library keeps it, as the library's own fork has
    it done, and Python's preparations are made. A process with more than one thread must not call this.

    :param cgroup: directory of the cgroup that the child is born in, None for ours.
    :raises OSError: the kernel cannot, or the cgroup cannot be used.
    """
    wanted = (ctypes.c_uint64 * _FIELDS)()
    wanted[_FLAGS] = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID
    wanted[_CHILD_TID] = _place_of_thread_id()
    with _directory(cgroup) as directory:
        if directory is not None:
            wanted[_FLAGS] |= _CLONE_INTO_CGROUP
            wanted[_CGROUP] = directory
        return _clone(wanted)


def _clone(wanted: ctypes.Array[ctypes.c_uint64]) -> int:
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(_system_call()(ctypes.c_long(_SYS_CLONE3), wanted, ctypes.c_size_t(ctypes.sizeof(wanted))))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid


@cache
def _system_call() -> Any:
    """Return the C library's ``syscall``, called with the interpreter's lock, so that the child has it."""
    call = ctypes.PyDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


@cache
def _place_of_thread_id() -> int:
    """Return the address at which the C library keeps the id of this thread, which it has told the kernel."""
    place = ctypes.c_void_p()
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(place), 0, 0, 0) or not place.value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return place.value


@contextlib.contextmanager
def _directory(path: str | None) -> Iterator[int | None]:
    if path is None:
        yield None
        return
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)
