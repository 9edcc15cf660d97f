"""Whether the server is there and can work."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Alive(Struct, forbid_unknown_fields=True):
    """The server answers."""

    status: Literal["ok"]


class Readiness(Struct, forbid_unknown_fields=True):
    """Whether everything that the server depends on can be used."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str | None]
