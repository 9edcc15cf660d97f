"""Sealed values open only with their key and in their place."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.store import Sealer, StoreError
from agentproxy.store.sealing import KEY_FILE, read_keys

KEY, OTHER = b"k" * 32, b"o" * 32
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_what_is_sealed_opens(text: str) -> None:
    """Any text comes back, and two sealings of it differ."""
    sealer = Sealer({"a": KEY})
    sealed = sealer.seal(text, "t/r/c")
    assert sealer.open(sealed, "t/r/c") == text
    assert sealed != sealer.seal(text, "t/r/c")


@given(ANY_TEXT)
def test_what_is_not_sealed_does_not_open(text: str) -> None:
    """Text that was never sealed is said to be changed, whatever it is."""
    with pytest.raises(StoreError):
        Sealer({"a": KEY}).open(f"a:{text}", "t/r/c")


def test_after_a_rotation_old_values_open() -> None:
    """A new first key seals from then on; what the old one sealed opens until its key is taken away."""
    old = Sealer({"old": OTHER}).seal("secret", "p")
    rotated = Sealer({"new": KEY, "old": OTHER})
    assert rotated.open(old, "p") == "secret"
    assert rotated.seal("secret", "p").startswith("new:")
    with pytest.raises(StoreError, match="'old'"):
        Sealer({"new": KEY}).open(old, "p")


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    """The first start makes the file for its owner only; the second one reads it."""
    sealed = Sealer.from_directory(tmp_path).seal("x", "p")
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Sealer.from_directory(tmp_path).open(sealed, "p") == "x"
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        Sealer.from_directory(tmp_path)


@pytest.mark.parametrize("line", ["", "a", "a:b", ":" + base64.b64encode(KEY).decode(), "a:é"])
def test_a_wrong_key_file_is_named(line: str) -> None:
    """A line that is no key stops the start with file and line; an empty file has no key."""
    with pytest.raises(StoreError):
        Sealer(read_keys(f"\n{line}\n", "secret.key"))
