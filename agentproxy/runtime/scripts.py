"""Start-up scripts by name: ours beside this file, and those of the configuration.

A script is run as ``bash SCRIPT PORT PROGRAM ARGUMENTS...`` and ends in ``exec "${@:2}"``, so that it becomes the agent
server. All it needs comes by arguments and environment; no text is put into it.

A request that names none gets ``agentapi_with_github.sh`` for a repository on the GitHub host, else ``agentapi_default.sh``.
Ours are left out where they would do nothing but become the agent server, which starts sooner by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agentproxy.errors import INVALID_REQUEST, Refusal
from agentproxy.runtime.catalogue import unknown
from agentproxy.runtime.steps import StepFailed

OURS = Path(__file__).with_name("session_scripts")
DEFAULT = "agentapi_default.sh"
WITH_GITHUB = "agentapi_with_github.sh"


class Scripts:
    """All scripts by name.

    :param configured: the configuration's ``scripts:``; a name of ours is replaced.
    :param which: where a program is, :func:`shutil.which` over the PATH that sessions get.
    """

    def __init__(self, configured: Mapping[str, Path], which: Callable[[str], str | None]) -> None:
        self.paths = {path.name: path for path in sorted(OURS.glob("*.sh"))} | dict(configured)
        self._which = which

    def check(self, name: str, path: str = "$.script") -> None:
        """Check that there is a script of this name.

        :param path: where the name stood in the request.
        :raises Refusal: INVALID_REQUEST, with the nearest name that is known.
        """
        if name not in self.paths:
            raise Refusal(INVALID_REQUEST, f"{path}: {unknown('script', name, self.paths)}")

    def choose(self, github: bool, environment: Mapping[str, str]) -> str | None:
        """Return the script of a request that names none, or None where ours would do nothing.

        :param github: whether the session's repository is on the GitHub host.
        :param environment: of the session: ``GITHUB_TOKEN`` is what there is to set up, ``DEBUG`` makes scripts talk.
        """
        name = WITH_GITHUB if github else DEFAULT
        talks = environment.get("DEBUG") in ("1", "true")
        works = github and bool(environment.get("GITHUB_TOKEN"))
        return name if talks or works or not self.ours(name) else None

    def ours(self, name: str) -> bool:
        """Return whether a script is one that comes with the server."""
        return self.paths[name] == OURS / name

    def argv(self, name: str, port: int, argv: Sequence[str], path: str = "$.script") -> tuple[str, ...]:
        """Return what is run instead of the agent server's ``argv``.

        :raises Refusal: INVALID_REQUEST, there is no such script.
        :raises StepFailed: ``script``, its file or bash is missing.
        """
        self.check(name, path)
        script = self.paths[name]
        bash = self._which("bash")
        if bash is None:
            raise StepFailed("script", "scripts need bash, which is not on PATH", unavailable=True)
        if not script.is_file():
            raise StepFailed("script", f"the file of the script {name} is missing: {script}", unavailable=True)
        return (bash, str(script.absolute()), str(port), *argv)
