"""Which files of the server an agent must not read, wherever the configuration puts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from agentproxy.config.options import Config

_KEY = re.compile(r"(?:^|:)privateKey=((?:[^:\\]|\\.)+)")
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")


def secret_directories(config: Config) -> tuple[Path, ...]:
    """Return the outermost directories that belong to the server and to other sessions."""
    wanted = config.sessions
    places = (config.data_dir, config.runtime_dir, wanted.homes_dir, wanted.env_files_dir)
    found = dict.fromkeys(path.absolute() for path in places if path is not None)
    return tuple(path for path in found if found.keys().isdisjoint(path.parents))


def secret_files(config: Config, file: Path | None) -> tuple[Path, ...]:
    """Return files outside of them: the configuration, the static keys, the database, the private keys of listeners.

    :param file: the configuration's own.
    """
    hidden = set(secret_directories(config))
    found = dict.fromkeys(path.absolute() for path in _files(config, file))
    return tuple(path for path in found if hidden.isdisjoint(path.parents))


def _files(config: Config, file: Path | None) -> Iterator[Path]:
    yield from (path for path in (file, config.auth.static.keys_file) if path is not None)
    if (database := _SQLITE.match(config.store.url or "")) is not None:
        yield from (Path(database[1] + ending) for ending in ("", "-wal", "-shm"))
    for listener in config.listeners:
        yield from (Path(re.sub(r"\\(.)", r"\1", key)) for key in _KEY.findall(listener.endpoint))
