"""What a caller asks for when a session is to start. Plain data: the rules over it are in ``features/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Wait(Enum):
    """When a start is answered: at once, when the agent server answers, or when the agent can take a message."""

    NONE = "none"
    LISTENING = "listening"
    STABLE = "stable"


@dataclass(frozen=True, slots=True)
class StartRequest:
    """One wish to start a session, read from a face's dialect.

    Places name where a field stood in the request (``repository`` -> ``$.tags.repository``), so that a refusal can say it.

    :param user_id: whose session it shall be; None means the caller's.
    :param command: a command of the request's own, allowed only where the configuration says so.
    :param message: what is said to the agent first, when it is ready.
    :param repository: reference of a repository to clone (``owner/name``, URL, ``#branch``).
    :param env_file: name of an environment file inside the configured folder.
    :param script: name of a start-up script.
    :param oneshot: whether the session ends when its first message is answered.
    :param session_id: the id that was chosen for it before, None for a new one.
    :param continue_from: id of a session whose transcript stands before the message.
    :param restart: ``resume`` or ``never``: whether it starts again when the machine did; None takes the configuration's.
    """

    user_id: str | None = None
    agent: str | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    repository: str | None = None
    env_file: str | None = None
    github_token: str | None = None
    scope: str = "user"
    team_id: str | None = None
    description: str | None = None
    script: str | None = None
    oneshot: bool = False
    session_id: str | None = None
    wait: Wait = Wait.LISTENING
    continue_from: str | None = None
    restart: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)

    def kept_environment(self) -> Mapping[str, str]:
        """Return the environment that the record keeps, sealed: the request's own, and its GitHub token."""
        return {"GITHUB_TOKEN": self.github_token, **self.environment} if self.github_token else self.environment

    def place(self, name: str) -> str:
        """Return the JSON path at which the field ``name`` stood in the request."""
        return self.places.get(name, f"$.{name}")
