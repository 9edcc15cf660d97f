"""Gives a fenced session a network of its own, with a way out to other machines and none to this one.

A program of its own, for it has to be done while bubblewrap runs: ``python -I -S private_network.py SLIRP4NETNS BWRAP...``.
It becomes bubblewrap. A helper beside it waits until the sandbox is there, starts slirp4netns on its network, and only then lets
the session's program begin; slirp4netns ends with the sandbox. It imports the standard library alone, to begin quickly.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

RESOLVER = "10.0.2.3"
"""Where slirp4netns answers questions for names."""
WITHIN = 15.0
"""Seconds that slirp4netns may take, and bubblewrap for the loopback before it."""
PAUSE = 0.001
_LOOPBACK = b"127.0.0.1"
_NS_GET_USERNS = 0xB701
_RESOLV_CONF = "/etc/resolv.conf"


def main(words: Sequence[str]) -> NoReturn:
    """Become bubblewrap with a network beside it."""
    slirp, *argv = words
    told, tells = os.pipe()  # bubblewrap says which process is in the sandbox
    waits, goes_on = os.pipe()  # it waits until there is a network
    ends, lives = os.pipe()  # it holds this one while the sandbox lives
    if os.fork() == 0:
        if os.fork() == 0:  # nobody's child, for bubblewrap must not wait for it
            for descriptor in (tells, waits, lives):
                os.close(descriptor)
            _help(slirp, told, goes_on, ends)
        os._exit(0)
    os.wait()
    for descriptor in (told, goes_on, ends):
        os.close(descriptor)
    given = [f"--info-fd={tells}", f"--block-fd={waits}", f"--sync-fd={lives}"]
    names = _names()
    for descriptor in (tells, waits, lives, names):
        os.set_inheritable(descriptor, True)
    words_of_ours = [word for one in given for word in one.split("=")]
    words_of_ours += ["--perms", "0444", "--ro-bind-data", str(names), os.path.realpath(_RESOLV_CONF)]
    end = argv.index("--")
    os.execv(argv[0], [*argv[:end], *words_of_ours, *argv[end:]])


def _names() -> int:
    """Return a file with what the session's ``resolv.conf`` says: this machine's with another server."""
    try:
        before = Path(_RESOLV_CONF).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        before = []
    kept = [line for line in before if line.split() and line.split()[0] in ("search", "domain", "options")]
    found = os.memfd_create("resolv.conf")
    os.write(found, "\n".join([f"nameserver {RESOLVER}", *kept, ""]).encode())
    os.lseek(found, 0, os.SEEK_SET)
    return found


def _help(slirp: str, told: int, goes_on: int, ends: int) -> NoReturn:
    os.setpgid(0, 0)  # the session's stop signal is not for the network: the agent may need it to the end
    pid = _sandbox(told)
    if pid is None:
        os._exit(1)  # bubblewrap has said why
    said = os.memfd_create("slirp4netns")
    _wait_for_loopback(pid)
    why = _start(slirp, pid, ends, said)
    if why is None:
        with suppress(BrokenPipeError):  # bubblewrap has ended meanwhile, and has said why
            os.write(goes_on, b"1")
        os._exit(0)
    os.lseek(said, 0, os.SEEK_SET)
    lines = os.read(said, 4096).decode("utf-8", "replace").strip().split("\n")
    os.write(2, "\n".join([f"agentproxy: the session's network cannot be made: {why}", *lines, ""]).encode())
    os.kill(pid, signal.SIGKILL)
    os._exit(1)


def _sandbox(told: int) -> int | None:
    """Return the first process of the sandbox, None when there was none."""
    text = b""
    while part := os.read(told, 4096):
        text += part
        try:
            return int(json.loads(text)["child-pid"])
        except ValueError:
            continue
    return None


def _wait_for_loopback(pid: int) -> None:
    """Let bubblewrap finish its own part of the network.

    It tells of the sandbox before it gives the loopback its address. slirp4netns takes the loopback up, whereupon Linux gives it
    that same address, and bubblewrap would fail with its own.
    """
    until = time.monotonic() + WITHIN
    with suppress(OSError):  # the sandbox has ended
        while _LOOPBACK not in Path(f"/proc/{pid}/net/fib_trie").read_bytes() and time.monotonic() < until:
            time.sleep(PAUSE)


def _start(slirp: str, pid: int, ends: int, said: int) -> str | None:
    """Start slirp4netns and return why it does not work, None when it does."""
    ready, tells = os.pipe()
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except OSError:
        os._exit(1)  # bubblewrap has ended, and has said why
    # Who is not root enters by the user namespace that the network belongs to; bubblewrap may have made another inside of it.
    owner = fcntl.ioctl(network, _NS_GET_USERNS) if os.geteuid() != 0 else None
    how = "--enable-sandbox" if owner is None else f"--userns-path=/proc/self/fd/{owner}"
    argv = [slirp, "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp", how]
    argv += [f"--ready-fd={tells}", f"--exit-fd={ends}", "--netns-type=path", f"/proc/self/fd/{network}", "tap0"]
    if os.fork() == 0:
        for descriptor in filter(None, (tells, ends, network, owner)):
            os.set_inheritable(descriptor, True)
        os.dup2(said, 1)
        os.dup2(said, 2)
        try:
            os.execv(slirp, argv)
        except OSError as error:
            os.write(2, f"{slirp}: {error.strerror}\n".encode())
        os._exit(127)
    os.close(tells)
    if not select.select([ready], [], [], WITHIN)[0]:
        return f"slirp4netns was not ready within {WITHIN:g} s"
    return None if os.read(ready, 1) else "slirp4netns ended"


if __name__ == "__main__":
    main(sys.argv[1:])
