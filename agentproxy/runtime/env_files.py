"""Environment files of the configured folder: those of roles and the one that a request names.

Lines are ``NAME=VALUE``; blank lines and ``#`` lines are skipped, quotes around a value are taken off, nothing is expanded,
and ``export`` is not known. A wrong line is left out and named by its number; its text may hold a secret and is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.threads import deferToThread

from agentproxy.errors import INVALID_REQUEST, Refusal
from agentproxy.model.environment import NAME

SIZE_LIMIT = 1_048_576


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What was read of a file.

    :param wrong: numbers of the lines that were left out, the first line is 1.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[int, ...] = ()


def parse(text: str) -> EnvFile:
    """Read the text of an environment file; the last line with a name wins."""
    values: dict[str, str] = {}
    wrong: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not NAME.fullmatch(name.strip()) or "\0" in value:
            wrong.append(number)
            continue
        values[name.strip()] = _unquoted(value.strip())
    return EnvFile(values, tuple(wrong))


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _missing(path: str) -> Refusal:
    sentence = f"{path}: there is no such file in the folder of environment files (sessions.env_files_dir)"
    return Refusal(INVALID_REQUEST, sentence)


class EnvFiles:
    """The files of one folder; None means that there is no such folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def check(self, name: str, path: str = "$.tags.env_file") -> None:
        """Check what a request's name says by itself: whether there is such a file is found when it is read.

        :param path: where the name stood.
        :raises Refusal: INVALID_REQUEST, the name leads out of the folder, or there is no folder.
        """
        parts = Path(name).parts
        if self._folder is None or "\0" in name or not parts or parts[0] == "/" or ".." in parts:
            raise _missing(path)

    async def role(self, name: str) -> EnvFile:
        """Return the file ``NAME.env``, empty when it is not there; ``default`` is the file of all roles."""
        found = await deferToThread(self._read, f"{name}.env")
        return found or EnvFile()

    async def named(self, name: str, path: str = "$.tags.env_file") -> EnvFile:
        """Return a file that a request or the configuration names.

        :param path: where the name stood.
        :raises Refusal: INVALID_REQUEST, there is none in the folder; the same whether it lies outside or nowhere.
        """
        found = await deferToThread(self._read, name)
        if found is None:
            raise _missing(path)
        return found

    def _read(self, name: str) -> EnvFile | None:
        if self._folder is None or not name or "\0" in name:
            return None
        try:
            folder = self._folder.resolve(strict=True)
            target = (folder / name).resolve(strict=True)
            if not target.is_relative_to(folder) or not target.is_file() or target.stat().st_size > SIZE_LIMIT:
                return None
            return parse(target.read_text("utf-8", "replace"))
        except (OSError, RuntimeError, ValueError):
            return None
