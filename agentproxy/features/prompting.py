"""A living session whose agent may ask for leave: what it asks now, and giving it one key of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from agentproxy.agents.driver import AgentServerDriver, Outcome, Unreachable
from agentproxy.features.attention import Watcher
from agentproxy.model.approval import Prompt, prompt_of, read_prompt
from agentproxy.model.session import Session


class Asking(Protocol):
    """A living session whose agent may want an approval (``features/attending.py``)."""

    @property
    def record(self) -> Session:
        """Return the session."""

    @property
    def driver(self) -> AgentServerDriver | None:
        """Return its driver."""

    @property
    def watcher(self) -> Watcher:
        """Return what knows what the agent waits for."""

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """Return the keys of ``allow`` and ``deny``."""


def asked(asking: Asking, screen: str) -> Prompt:
    """Return what an agent asks now: over its protocol where it speaks one, else on its *screen*."""
    watcher = asking.watcher
    if watcher.request is not None:
        return prompt_of(watcher.request)
    return read_prompt(screen, watcher.now.line, watcher.marks, asking.keys)


async def give(asking: Asking, prompt: Prompt, key: str) -> Outcome:
    """Press one key of an answer, or give the answer over the protocol that the prompt came by."""
    if asking.driver is None:
        return Unreachable("the session ended")
    return await (asking.driver.permit(prompt.request, key) if prompt.request else asking.driver.send_raw(key))
