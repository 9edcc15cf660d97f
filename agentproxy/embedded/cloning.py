"""A fork whose child is born in a cgroup.

A process that moves into a cgroup waits for the kernel to agree with every processor, some ten milliseconds on a quiet machine. One
that is born there (``clone3`` with ``CLONE_INTO_CGROUP``, Linux 5.7) does not wait.
"""

from __future__ import annotations

import ctypes
import os
import signal

_SYS_CLONE3 = 435
"""On every architecture: calls that are so young have one number."""
_CLONE_INTO_CGROUP = 0x200000000
_EXIT_SIGNAL, _CGROUP, _FIELDS = 4, 10, 11
"""Places in the kernel's ``struct clone_args``, and how many of 64 bits it has; ``flags`` is the first."""


def fork_into(cgroup: str) -> int:
    """Fork as :func:`os.fork` does, the child being in a cgroup from its beginning.

    The child is made past the C library, which does not know its thread id then: it may only fork again, properly, and end.
    A process with more than one thread must not call this.

    :param cgroup: its directory.
    :raises OSError: the kernel cannot, or the cgroup cannot be used.
    """
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        wanted = (ctypes.c_uint64 * _FIELDS)()
        wanted[0], wanted[_EXIT_SIGNAL], wanted[_CGROUP] = _CLONE_INTO_CGROUP, signal.SIGCHLD, directory
        call = ctypes.PyDLL(None, use_errno=True).syscall  # keeps the interpreter's lock, so the child has it
        call.restype = ctypes.c_long
        pid = int(call(ctypes.c_long(_SYS_CLONE3), wanted, ctypes.c_size_t(ctypes.sizeof(wanted))))
        if pid < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), cgroup)
        return pid
    finally:
        os.close(directory)
