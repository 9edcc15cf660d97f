"""What ``agentproxy doctor`` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param level: ok, note (it works, and something could be better) or bad (something will fail).
    :param advice: what to do, empty when it is well.
    """

    level: Level
    subject: str
    sentence: str
    advice: str = ""
