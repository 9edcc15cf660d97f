"""Environment files."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.runtime.env_files import EnvFile, EnvFiles, parse


def test_syntax() -> None:
    """Comments, blanks and quotes are understood; wrong lines are named by number."""
    found = parse("# c\n\nA=1\nB = 'x y' \nC=\"$A\"\nexport D=1\nnonsense\r\nE=a=b\nA=2\n")
    assert found == EnvFile({"A": "2", "B": "x y", "C": "$A", "E": "a=b"}, (6, 7))


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """No file stops a start: what comes out are legal variables."""
    assert all(name.isascii() and "\0" not in value for name, value in parse(text).values.items())


@pytest_twisted.ensureDeferred
async def test_only_inside_the_folder(tmp_path: Path) -> None:
    """A name that leads out of the folder, by dots, absolute or by a link, is refused as one that does not exist."""
    folder = tmp_path / "envs"
    (folder / "teams").mkdir(parents=True)
    (folder / "teams/a.env").write_text("A=1")
    (tmp_path / "secret.env").write_text("S=1")
    (folder / "link.env").symlink_to(tmp_path / "secret.env")
    files = EnvFiles(folder)
    assert (await files.named("teams/a.env")).values == {"A": "1"}
    for name in ["../secret.env", str(tmp_path / "secret.env"), "link.env", "none.env", "", "a\0", "teams"]:
        with pytest.raises(Refusal, match=r"\$\.tags\.env_file: there is no such file"):
            await files.named(name)


@pytest.mark.parametrize("name", ["../secret.env", "/etc/passwd", "a/../../b", "", ".", "a\0"])
def test_what_leads_out_is_refused_before_a_session_is_made(tmp_path: Path, name: str) -> None:
    """The name alone says so; without a folder every name does."""
    with pytest.raises(Refusal, match=r"\$\.tags\.env_file: there is no such file"):
        EnvFiles(tmp_path).check(name)
    with pytest.raises(Refusal):
        EnvFiles(None).check("mine.env")
    EnvFiles(tmp_path).check("teams/mine.env")


@pytest_twisted.ensureDeferred
async def test_roles_without_a_file(tmp_path: Path) -> None:
    """A role needs no file, and a server no folder."""
    (tmp_path / "user.env").write_text("A=1")
    assert (await EnvFiles(tmp_path).role("user")).values == {"A": "1"}
    assert await EnvFiles(tmp_path).role("other") == EnvFile()
    assert await EnvFiles(None).role("user") == EnvFile()
