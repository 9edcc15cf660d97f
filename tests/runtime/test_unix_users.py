"""A UNIX user for each owner: what its processes can and cannot read, and what a hostile owner cannot make us give away."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import pytest_twisted

from agentproxy.runtime.isolation import Isolation, resolve
from agentproxy.runtime.unix_users import FILE, Users

FIRST = 3_000_000_000
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become other users"
)


@pytest.fixture
def data(open_path: Path) -> Path:
    """The data of a server with the HOMEs of two owners, below a directory that others may pass through."""
    made = open_path / "data"
    made.mkdir(mode=0o700)
    (made / "homes").mkdir(mode=0o700)
    (made / "agentproxy.db").touch(mode=0o600)
    for owner in ("ann", "bob"):
        home = made / "homes" / owner
        home.mkdir(mode=0o700)
        (home / "secret").write_text(f"{owner}'s secret")
    return made


@pytest.fixture
def fence(data: Path) -> Isolation:
    """The fence over that data."""
    return resolve("user", users=Users(data, (data,), FIRST))


def run(fence: Isolation, owner: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell as an owner."""
    argv = fence.wrap(("/bin/sh", "-c", script), Path("/"), (), owner)
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, cwd="/")


@pytest_twisted.ensureDeferred
async def test_an_owner_uses_its_own_and_nothing_else(fence: Isolation, data: Path) -> None:
    """Reads and writes its HOME; not another's, not the store; lists nothing; has no privileges to get back."""
    for owner in ("ann", "bob"):
        await fence.claim(owner, (data / "homes" / owner,))
    homes = data / "homes"
    assert run(fence, "ann", f"cat {homes}/ann/secret; touch {homes}/ann/new").stdout == "ann's secret"
    assert (homes / "ann" / "new").stat().st_uid == FIRST
    for path in (homes / "bob" / "secret", data / "agentproxy.db", data / FILE):
        refused = run(fence, "ann", f"cat {path}")
        assert (refused.returncode != 0, refused.stdout) == (True, ""), path
    assert run(fence, "ann", f"ls {homes}; ls {data}").stdout == ""
    status = run(fence, "ann", "id -u; id -G; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status").stdout.split()
    assert status == [str(FIRST), str(FIRST), "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]


@pytest_twisted.ensureDeferred
async def test_an_owner_keeps_its_user_over_restarts(fence: Isolation, data: Path) -> None:
    """Each owner has one of its own, the same one for the next server."""
    await fence.claim("ann", ())
    await fence.claim("bob", ())
    again = Users(data, (data,), FIRST)
    assert [again.of(owner) for owner in ("bob", "ann", "zoe")] == [FIRST + 1, FIRST, FIRST + 2]


@pytest_twisted.ensureDeferred
async def test_what_is_not_the_owners_is_not_given_to_it(fence: Isolation, data: Path, tmp_path: Path) -> None:
    """Links in a HOME that lead to others' files, by name or as a second name, give nothing away; nor does a place elsewhere."""
    treasure = tmp_path / "treasure"
    treasure.mkdir(mode=0o700)
    (treasure / "file").touch(mode=0o600)
    home = data / "homes" / "ann"
    (home / "link").symlink_to(treasure / "file")
    (home / "folder").symlink_to(treasure)
    os.link(treasure / "file", home / "second name")
    await fence.claim("ann", (home, treasure))
    assert [place.stat().st_uid for place in (treasure, treasure / "file")] == [0, 0]
