"""Loads the configuration: finds the file, lets the environment and the command line override it, checks it.

The order, the strongest first: command line, ``AGENTPROXY_*``, ``AGENTAPI_*`` and the peer's other variables, the file,
the defaults. Relative paths start from the file's folder, those of the environment and the command line from the
working directory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentproxy.config.consistency import contradictions
from agentproxy.config.converting import WRONG, Converter
from agentproxy.config.faults import ConfigError, Fault
from agentproxy.config.fields import leaves_of
from agentproxy.config.options import Config
from agentproxy.config.peer import adopt
from agentproxy.config.reading import read
from agentproxy.config.variables import Given, expand, overrides_of

SOCKET_ROOM = 60
"""Longest runtime directory: a UNIX socket's path has about 100 characters, its name in the directory takes 40."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used, and where it came from.

    :param config: the typed tree.
    :param sources: for each leaf (dotted path) what set it: ``default``, ``file``, a variable's name, ``command line``.
    :param warnings: sentences for the log; nothing in them stops the start.
    :param path: the file, or None when there was none.
    """

    config: Config
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    path: Path | None


def candidates(environ: Mapping[str, str], cwd: Path, home: Path) -> list[Path]:
    """Return the files that are looked for, in order; the first that exists is used."""
    users = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "agentproxy" / "agentproxy.yaml"
    peers = ("config.json", "config.yaml")
    return [
        cwd / "agentproxy.yaml",
        cwd / "config.json",
        users,
        *(home / ".agentapi" / name for name in peers),
        Path("/etc/agentproxy/agentproxy.yaml"),
        *(Path("/etc/agentapi") / name for name in peers),
    ]


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    *,
    cwd: Path,
    home: Path,
    root: bool = False,
) -> Loaded:
    """Return the configuration.

    :param path: the file to use; None looks at :func:`candidates`.
    :param environ: the environment, for overrides and ``${VAR}``.
    :param overrides: options of the command line by dotted path; texts stand for a value of the option's type.
    :param cwd: working directory.
    :param home: what ``~`` stands for.
    :param root: whether the server runs as root, which changes where data is kept.
    :raises ConfigError: with everything that is wrong.
    """
    found = cwd / path if path is not None else _first(candidates(environ, cwd, home))
    name = str(found) if found else ""
    faults: list[Fault] = []
    warnings: list[str] = []
    tree = _read(found) if found else {}
    tree = expand(tree, environ, "", faults)
    adopt(tree, warnings)
    sources = dict.fromkeys(_set_leaves(tree), "file")
    for place, variable, text in overrides_of(environ, faults, warnings):
        _put(tree, place, Given(text))
        sources[place] = variable
    for place, value in overrides.items():
        _put(tree, place, Given(value) if isinstance(value, str) else value)
        sources[place] = "command line"
    converter = Converter(found.parent if found else cwd, cwd, home)
    _mapping_file(tree, converter, sources)
    _computed(tree, environ, converter, home, root)
    config = converter.section(Config, tree, "")
    faults += converter.faults
    if config is not WRONG:
        faults += contradictions(config)
    if faults:
        raise ConfigError(_with_sources(faults, sources), name)
    warnings += _doubts(config, sources)
    return Loaded(config, {leaf: sources.get(leaf, "default") for leaf in leaves_of(Config)}, tuple(warnings), found)


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Fault(str(path), f"cannot be read: {reason}")]) from None
    return read(content, str(path))


def _set_leaves(tree: Any) -> list[str]:
    return [path for path in leaves_of(Config) if _at(tree, path) is not None]


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _put(tree: dict[str, Any], path: str, value: object) -> None:
    """Set an option; where a section of the file is no map, it stays as it is and becomes a fault of its own."""
    *outer, last = path.split(".")
    place = tree
    for name in outer:
        if place.get(name) is None:
            place[name] = {}
        if not isinstance(place[name], dict):
            return
        place = place[name]
    place[last] = value


def _mapping_file(tree: dict[str, Any], converter: Converter, sources: dict[str, str]) -> None:
    """Let ``auth_config_file`` replace ``auth.github.user_mapping``, as agentapi-proxy does."""
    entry = leaves_of(Config)["auth_config_file"]
    if not tree.get("auth_config_file"):
        tree.pop("auth_config_file", None)
        return
    path = converter.value(entry.kind, entry.meaning, tree["auth_config_file"], "auth_config_file")
    if path is WRONG:
        del tree["auth_config_file"]
        return
    try:
        mapping = _at(_read(path), "github.user_mapping")
    except ConfigError as error:
        converter.faults += error.faults
        return
    if mapping is not None:
        _put(tree, "auth.github.user_mapping", mapping)
        for leaf in leaves_of(Config):
            if leaf.startswith("auth.github.user_mapping."):
                sources[leaf] = str(path)


def _computed(tree: dict[str, Any], environ: Mapping[str, str], converter: Converter, home: Path, root: bool) -> None:
    """Fill in the folders whose defaults depend on the machine."""
    leaves = leaves_of(Config)
    if tree.get("data_dir") is None:
        state = environ.get("XDG_STATE_HOME")
        usual = Path("/var/lib") if root else home / ".local" / "state"
        tree["data_dir"] = str((Path(state) if state else usual) / "agentproxy")
    if tree.get("runtime_dir") is None:
        entry = leaves["data_dir"]
        before = len(converter.faults)
        data = converter.value(entry.kind, entry.meaning, tree["data_dir"], "data_dir")
        del converter.faults[before:]
        tree["runtime_dir"] = str(runtime_dir(data if isinstance(data, Path) else home))


def runtime_dir(data_dir: Path) -> Path:
    """Return a folder for UNIX sockets: ``run`` in the data, or one in the temporary directory if that is too long."""
    inside = data_dir / "run"
    if len(str(inside)) <= SOCKET_ROOM:
        return inside
    digest = hashlib.sha256(str(data_dir).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    folders = [Path(place) / f"agentproxy-{digest}" for place in (tempfile.gettempdir(), "/tmp")]  # noqa: S108 - its owner is checked
    return next((one for one in folders if len(str(one)) <= SOCKET_ROOM), folders[-1])


def _with_sources(faults: list[Fault], sources: Mapping[str, str]) -> list[Fault]:
    """Say of a fault that came from a variable or the command line where it came from."""
    named = []
    for fault in faults:
        source = sources.get(fault.path.partition("[")[0], "file")
        outside = source not in ("file", "default")
        named.append(Fault(f"{fault.path} (from {source})", fault.problem, fault.nearest) if outside else fault)
    return named


def _doubts(config: Config, sources: Mapping[str, str]) -> list[str]:
    said = [path for path in ("listen", "port") if path in sources]
    if config.listeners and said:
        return [f"{' and '.join(said)} has no effect: listeners says where to listen."]
    return []
