"""Links and pipes that an agent puts where the server reads or writes: nothing is read, written or waited for through them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentproxy.runtime.launching import Launch, LaunchFailed, launch
from agentproxy.runtime.output import OutputLog
from agentproxy.runtime.plain_files import open_plain, read_plain
from agentproxy.runtime.ssh_files import SshFiles
from agentproxy.runtime.watching import read_end_record


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A file of the server."""
    path = tmp_path / "treasure"
    path.write_text("treasure")
    return path


TRAPS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda place, treasure: place.symlink_to(treasure),
    "pipe": lambda place, _treasure: os.mkfifo(place),
    "device": lambda place, _treasure: place.symlink_to("/dev/zero"),
    "directory": lambda place, _treasure: place.mkdir(),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_no_plain_file_is_not_opened(trap: str, tmp_path: Path, treasure: Path) -> None:
    """Neither read nor waited for."""
    place = tmp_path / "place"
    TRAPS[trap](place, treasure)
    with pytest.raises(OSError, match="place"):
        open_plain(place)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_log_and_an_end_record_show_nothing_else(trap: str, tmp_path: Path, treasure: Path) -> None:
    """The routes that show a log give nothing of the server's; an end that cannot be read is an unknown end."""
    treasure.write_text(json.dumps({"exit": {"code": 7, "signal": None}, "reason": "stopped"}))
    place = tmp_path / "place"
    TRAPS[trap](place, treasure)
    log = OutputLog(place)
    assert (log.tail(), log.end(100), log.last_lines(), log.read_after(0)) == (b"", (b"", 0), (), (b"", 0))
    assert read_end_record(place) is None


def test_a_log_that_is_a_link_is_not_written_to(tmp_path: Path, treasure: Path) -> None:
    """A program is not launched when its output would go into another file."""
    log = tmp_path / "log"
    log.symlink_to(treasure)
    with pytest.raises(LaunchFailed, match="log"):
        launch(Launch(("/bin/echo", "over it"), {"PATH": "/bin"}, tmp_path, log))
    assert treasure.read_text() == "treasure"


def test_no_more_is_read_than_was_asked_for(treasure: Path) -> None:
    """An endless file does not fill the memory."""
    assert read_plain(treasure, 4) == b"trea"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HOME with a key and a known host."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_ed25519").write_text("own key")
    (ssh / "known_hosts").write_text("one\n")
    return tmp_path / "home"


def test_a_clone_uses_copies_of_the_keys(home: Path, tmp_path: Path) -> None:
    """The keys are private copies; a host that became known is known the next time; the copies are removed."""
    files = SshFiles(home, tmp_path / "copies")
    files.take()
    copy = tmp_path / "copies" / "id_ed25519"
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("own key", 0o600)
    assert str(copy) in files.command()
    assert str(home) not in files.command()
    with (tmp_path / "copies" / "known_hosts").open("a") as file:
        file.write("two\n")
    files.give_back()
    assert (home / ".ssh" / "known_hosts").read_text() == "one\ntwo\n"
    assert not (tmp_path / "copies").exists()


def test_another_users_key_is_not_used_by_a_link(home: Path, tmp_path: Path, treasure: Path) -> None:
    """Neither through the key, nor through the folder; and what is known does not overwrite another file."""
    (home / ".ssh" / "id_rsa").symlink_to(treasure)
    (home / ".ssh" / "known_hosts").unlink()
    (home / ".ssh" / "known_hosts").symlink_to(treasure)
    files = SshFiles(home, tmp_path / "copies")
    files.take()
    assert sorted(os.listdir(tmp_path / "copies")) == ["id_ed25519"]
    (tmp_path / "copies" / "known_hosts").write_text("host\n")
    files.give_back()
    assert treasure.read_text() == "treasure"
    assert (home / ".ssh" / "known_hosts").read_text() == "host\n"
    (home / ".ssh").rename(tmp_path / "elsewhere")
    (home / ".ssh").symlink_to(tmp_path / "elsewhere")
    files.take()
    assert os.listdir(tmp_path / "copies") == []
