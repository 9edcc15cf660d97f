"""Every way of installing finds the plugin: a wheel, an editable install and a bare checkout.

The environments see the packages of the running one through a ``.pth`` file, so that nothing is downloaded; our own
package comes only from what is tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
SETUPTOOLS = next((entry.version for entry in distributions(name="setuptools")), "0")
RECENT = int(SETUPTOOLS.partition(".")[0]) >= 77
BUILD = ("--no-deps", "--quiet", *(("--no-index", "--no-build-isolation") if RECENT else ()))
"""Without the network where the running environment can build; else pip fetches what builds."""


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints; a failure shows all of it."""
    ours = ("AGENTPROXY_", "AGENTAPI_", "PYTHON", "COV_", "XDG_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(folder: Path, *install: str | Path) -> Path:
    """Make a virtual environment, install into it, and only then let it see the shared packages; return its python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    if install:
        (site / "building.pth").write_text(f"{building(folder / 'building')}\n")
        run(*PIP, "--python", python, "install", *BUILD, *install, cwd=folder)
        (site / "building.pth").unlink()
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def building(folder: Path) -> Path:
    """Return a directory with what builds packages, setuptools, and nothing else of the running environment."""
    folder.mkdir()
    for part in Path(sysconfig.get_path("purelib")).iterdir():
        if part.name.startswith(("setuptools", "_distutils_hack", "pkg_resources")):
            (folder / part.name).symlink_to(part)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout, so that building leaves nothing in the real one."""
    target = tmp_path_factory.mktemp("source") / "agentproxy"
    target.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in ("agentproxy", "twisted_plugins"):
        shutil.copytree(CHECKOUT / name, target / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of the package."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", *BUILD, "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("agentproxy-*.whl"))


def test_the_wheel_has_everything(wheel: Path) -> None:
    """Code, scripts, data and the plugin are in the wheel, and no file that would replace one of Twisted's."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(CHECKOUT))
        for pattern in ("*.py", "*.sh", "*.yaml", "*.html", "*.css", "*.js", "py.typed")
        for path in (CHECKOUT / "agentproxy").rglob(pattern)
    }
    assert not wanted - names
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/agentproxy_plugin.py"}


def test_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """After a normal install twistd, twist and the command know the server."""
    python = environment(tmp_path / "env", wheel)
    assert "agentproxy" in run(python, "-m", "twisted", "--help", cwd=tmp_path)
    twistd = "from twisted.scripts.twistd import run; run()"
    assert "A multi-user server for coding agents" in run(python, "-c", twistd, "--help", cwd=tmp_path)
    assert "--config=" in run(python, "-c", twistd, "agentproxy", "--help", cwd=tmp_path)
    assert "start_port: 9000" in run(python.parent / "agentproxy", "config", "show", cwd=tmp_path)
    assert "agentproxy server --port" in run(python.parent / "agentproxy", "server", "--help", cwd=tmp_path)


def plugin_is_found(python: Path | str, cwd: Path) -> None:
    """Assert that the way of `python -m agentproxy` knows the plugin."""
    assert "agentproxy server --port" in run(python, "-m", "agentproxy", "--help", cwd=cwd)
    code = (
        "from agentproxy.cli import find_plugin; find_plugin()\n"
        "from twisted.application.service import IServiceMaker; from twisted.plugin import getPlugins\n"
        "print([maker.tapname for maker in getPlugins(IServiceMaker)].count('agentproxy'))"
    )
    assert run(python, "-c", code, cwd=cwd).strip() == "1"


def test_editable_install(source: Path, tmp_path: Path) -> None:
    """After an editable install `twistd agentproxy` and `python -m agentproxy` know the server."""
    python = environment(tmp_path / "env", "--editable", source)
    plugin_is_found(python, tmp_path)
    twistd = "from twisted.scripts.twistd import run; run()"
    assert "--config=" in run(python, "-c", twistd, "agentproxy", "--help", cwd=tmp_path)


def test_bare_checkout(source: Path, tmp_path: Path) -> None:
    """Without any install `python -m agentproxy` works in the checkout."""
    plugin_is_found(environment(tmp_path / "env"), source)
