"""The Dockerfile: what its image promises, read from its instructions, and its essential steps run here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from agentproxy.config.loading import load
from tests.agent_servers import clean_environment
from tests.daemon import Daemon

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, as (name, arguments), with continued lines joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[list[tuple[str, str]]] = []
    for line in joined.splitlines():
        name, arguments = line.split(None, 1)
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, arguments))
    return stages


BUILD, FINAL = instructions()
PROGRAM = [sys.executable, "-c", "from agentproxy.cli import main; main()"]


def last(name: str) -> str:
    """Return the arguments of the last instruction of this name in the final stage."""
    return [arguments for found, arguments in FINAL if found == name][-1]


def test_the_image_does_not_run_as_root() -> None:
    """The last user is a number other than 0, and the data directory is a volume that is its own."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    user = last("USER").partition(":")[0]
    made = " ".join(arguments for name, arguments in FINAL if name == "RUN")
    assert f"--uid {user}" in made
    assert re.search(r"install -d -o agentproxy -g agentproxy -m 0700 /data\b", made)
    assert last("VOLUME") == "/data"
    names = [name for name, _arguments in FINAL]
    assert names.index("RUN") < names.index("USER")
    assert "RUN" not in names[names.index("USER") :]


def test_an_init_reaps_and_the_command_is_the_documented_one() -> None:
    """`IMAGE server` runs the daemon below an init that was installed; both are lists, so that signals arrive."""
    entry, command = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert (entry[0], entry[-1], command) == ("tini", "agentproxy", ["server"])
    installed = " ".join(arguments for name, arguments in FINAL if name == "RUN").split()
    assert {"tini", "git", "python3", "bash", "openssh-client", "ca-certificates", "util-linux"} <= set(installed)
    done = subprocess.run([*PROGRAM, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_builds_are_small_and_repeatable() -> None:
    """Pinned bases, no recommended packages, no package lists and no build tools in the image."""
    for stage in (BUILD, FINAL):
        base = dict(stage)["FROM"].split()[0]
        assert re.search(r":[0-9][^ ]*$", base), f"{base} has no version"
        for name, arguments in stage:
            if name == "RUN" and "apt-get install" in arguments:
                assert "--no-install-recommends" in arguments
                assert "rm -rf /var/lib/apt/lists/*" in arguments
            assert name != "ADD"
    assert dict(BUILD)["FROM"].split()[0] == dict(FINAL)["FROM"], "an environment built on another base would not run"
    assert not any("pip install" in arguments for _name, arguments in FINAL)


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    """Each source of a COPY exists and passes .dockerignore; what setup.py reads is among them."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    copied = [words for name, arguments in BUILD if name == "COPY" for words in [arguments.split()]]
    sources = [source for words in copied for source in words[:-1]]
    assert {"setup.py", "README.md", "agentproxy", "twisted_plugins", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"


def test_the_image_reads_the_mounted_configuration(tmp_path: Path) -> None:
    """`/app/config.json` is the configuration of the working directory; data goes to the volume."""
    assert last("WORKDIR") == "/app"
    given = dict(re.findall(r"(AGENTPROXY_\w+)=(\S+)", last("ENV")))
    assert given == {
        "AGENTPROXY_DATA_DIR": "/data",
        "AGENTPROXY_LISTEN": "0.0.0.0",
        "AGENTPROXY_AUTH_ENABLED": "true",
    }
    (tmp_path / "config.json").write_text('{"auth": {"enabled": true}}', encoding="utf-8")
    loaded = load(None, given, {}, cwd=tmp_path, home=tmp_path)
    assert (str(loaded.config.data_dir), loaded.config.listen, loaded.config.port) == ("/data", "0.0.0.0", 8080)
    assert last("EXPOSE") == str(loaded.config.port)
    shown = subprocess.run(
        [*PROGRAM, "config", "check"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "config.json" in shown.stdout


@pytest.mark.parametrize("up", [True, False])
def test_the_health_check_tells_a_server_from_none(tmp_path: Path, up: bool) -> None:
    """The command of HEALTHCHECK ends with 0 while the daemon answers at its configured port, else with another status."""
    command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python3"
    running = Daemon(tmp_path)
    try:
        if not up:
            running.stop()
        port = {"AGENTPROXY_PORT": str(running.port)}
        done = subprocess.run(
            [sys.executable, *command[1:]], env=clean_environment(tmp_path, port), capture_output=True, timeout=60
        )
        assert (done.returncode == 0) is up
    finally:
        running.stop()


def test_the_first_start_shows_an_administrators_key_once(tmp_path: Path) -> None:
    """Without a configuration everybody is asked for a key; the container's log has one, the next start does not."""
    given = dict(re.findall(r"(AGENTPROXY_\w+)=(\S+)", last("ENV")))
    settings = {**given, "AGENTPROXY_LISTEN": "127.0.0.1", "AGENTPROXY_DATA_DIR": str(tmp_path / "data")}
    daemon = Daemon(tmp_path, settings=settings)
    try:
        assert daemon.client.get("/search").status == 401
        [key] = re.findall(r"\bap_\w+", daemon.log.read_text())
        assert daemon.client.get("/auth/status", X_API_Key=key).json()["role"] == "admin"
    finally:
        daemon.stop()
    again = Daemon(tmp_path, settings=settings)
    try:
        assert not re.findall(r"\bap_\w+", again.log.read_text())
        assert again.client.get("/search", X_API_Key=key).status == 200
    finally:
        again.stop()
