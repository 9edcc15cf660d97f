"""The configuration's ``agents:`` as plain data, to be laid over the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from agentproxy.config.options import AgentOptions


def overlay_of(agents: Mapping[str, AgentOptions]) -> dict[str, dict[str, Any]]:
    """Return what is said of each agent, by the names of the catalogue; what is empty is left out."""
    return {name: {key: value for key, value in _plain(row).items() if value} for name, row in agents.items()}


def _plain(row: AgentOptions) -> dict[str, Any]:
    values = {option.name: getattr(row, option.name) for option in fields(row)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
