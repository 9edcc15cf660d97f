"""A Python that every user of this machine may run, with what the tests' own Python has installed."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def readable(path: Path) -> bool:
    """Return whether every user can get at a path."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents) if place.is_dir())


def find_open_python(directory: Path) -> str:
    """Return the tests' own Python, or one like it that is made below *directory* from the system's."""
    packages = [Path(one) for one in site.getsitepackages()]
    if not all(readable(one) for one in (*packages, ROOT)):
        pytest.skip("another user cannot read what this Python has installed")
    if readable(Path(sys.executable).resolve().parent):
        return sys.executable
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if not system.exists():
        pytest.skip("no Python here that another user may run")
    return make_python(directory, os.fspath(system))


def make_python(directory: Path, origin: str) -> str:
    """Return a Python like another one, made in *directory*, that imports what the tests' own Python has installed."""
    made = directory / "python"
    subprocess.run([origin, "-m", "venv", "--without-pip", made], check=True, timeout=60)
    lines = [os.fspath(ROOT), *site.getsitepackages()]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (made / "lib" / f"python{version}" / "site-packages" / "all.pth").write_text("\n".join(lines) + "\n")
    return str(made / "bin" / "python")
