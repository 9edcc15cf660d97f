"""The effective configuration with the source of each value; secrets are masked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentproxy.config.fields import leaves_of, options_of
from agentproxy.config.loading import Loaded
from agentproxy.config.options import Config

MASK = "***"


def explain(loaded: Loaded, *, everything: bool) -> str:
    """Return one line ``path: value  # source`` for each option.

    :param everything: with the options that have their default too.
    """
    origin = str(loaded.path) if loaded.path else "no file; defaults and the environment"
    lines = [f"# {origin}"]
    for path, found in effective(loaded, everything=everything).items():
        lines.append(f"{path}: {json.dumps(found['value'], ensure_ascii=False)}  # {found['source']}")
    return "\n".join(lines) + "\n"


def effective(loaded: Loaded, *, everything: bool) -> dict[str, dict[str, Any]]:
    """Return the ``value`` and the ``source`` of each option by its dotted path; secrets are masked.

    :param everything: with the options that have their default too.
    """
    return {
        path: {
            "value": masked(value_at(loaded.config, path), secret=entry.meaning.secret),
            "source": loaded.sources[path],
        }
        for path, entry in leaves_of(Config).items()
        if everything or loaded.sources[path] != "default"
    }


def value_at(config: Config, path: str) -> Any:
    """Return the value of an option by its dotted path."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def masked(value: Any, *, secret: bool = False) -> Any:
    """Return a value as plain JSON data, secrets as ``***``; the names in a secret map stay."""
    if isinstance(value, Mapping):
        return {name: masked(inner, secret=secret) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [masked(inner, secret=secret) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: masked(getattr(value, name), secret=entry.meaning.secret)
            for name, entry in options_of(type(value)).items()
        }
    if secret and value is not None:
        return MASK
    return str(value) if isinstance(value, Path) else value
