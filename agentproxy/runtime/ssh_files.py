"""The SSH keys of a user for a clone: read from the HOME, where agents write, into a place where they do not.

A link in ``.ssh`` would have ssh, which runs with the server's rights, use another user's key, or write to another file.
"""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from agentproxy.runtime.plain_files import enter, read_plain, replace_plain

KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
KNOWN = "known_hosts"
_MOST = 1 << 20


class SshFiles:
    """Private copies for one clone.

    :param home: the HOME whose ``.ssh`` is copied.
    :param place: directory for the copies; it is made and removed.
    """

    def __init__(self, home: Path, place: Path) -> None:
        self._home = home
        self._place = place

    def take(self) -> None:
        """Copy the keys and the known hosts. Blocking.

        :raises OSError: the copies cannot be written.
        """
        self.remove()
        self._place.mkdir(mode=0o700)
        for name in (*KEYS, KNOWN):
            data = self._read(name)
            if data is not None:
                with open(os.open(self._place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(data)

    def _read(self, name: str) -> bytes | None:
        with ExitStack() as opened, suppress(OSError):
            return read_plain(name, _MOST, enter(self._home, [".ssh"], opened))
        return None

    def give_back(self) -> None:
        """Keep in the HOME which hosts are known now, and remove the copies; twice without harm. Blocking."""
        with suppress(OSError):
            data = (self._place / KNOWN).read_bytes()
            if data != self._read(KNOWN):
                with ExitStack() as opened:
                    replace_plain(KNOWN, enter(self._home, [".ssh"], opened, make=True), data)
        self.remove()

    def remove(self) -> None:
        """Remove the copies; twice without harm. Blocking."""
        shutil.rmtree(self._place, ignore_errors=True)

    def command(self) -> str:
        """Return the ssh that uses these files and no others, and asks nobody."""
        keys = [part for name in KEYS for part in ("-i", str(self._place / name))]
        known = ["-o", f'UserKnownHostsFile="{self._place / KNOWN}"']
        asking = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        return shlex.join(["ssh", "-F", os.devnull, *asking, "-o", "StrictHostKeyChecking=accept-new", *known, *keys])
