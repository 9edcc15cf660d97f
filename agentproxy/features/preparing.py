"""What a session is made of: a wish is checked against the rules, then its directory, HOME, clone and environment are prepared.

Checks come before anything is written; the steps run in the order in which a failure is cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentproxy.errors import FORBIDDEN, INVALID_REQUEST, Refusal
from agentproxy.model import environment, repository, tags
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime.catalogue import Agent, Catalogue
from agentproxy.runtime.clone import Cloner
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.starting import Prepared
from agentproxy.runtime.steps import StepFailed

TEXT_LIMIT = 65_536


@dataclass(frozen=True, slots=True)
class Kitchen:
    """The places and rules that recipes use.

    :param server_environment: what sessions may see of the server's environment, with the names that an agent needs.
    :param per_user_home: one HOME for all sessions of a user; else one a session.
    """

    catalogue: Catalogue
    directories: Directories
    homes: Homes
    scripts: Scripts
    env_files: EnvFiles
    cloner: Cloner
    server_environment: Callable[[Sequence[str]], Mapping[str, str]]
    default_agent: str = "auto"
    allow_commands: bool = False
    per_user_home: bool = True


def check(kitchen: Kitchen, principal: Principal, wish: StartRequest) -> tuple[Agent, Mapping[str, Any]]:
    """Return the agent of a wish and the options that its record keeps.

    :raises Refusal: INVALID_REQUEST or FORBIDDEN, naming the field.
    """
    environment.check(wish.environment)
    tags.check(wish.tags)
    if wish.user_id and wish.user_id != principal.user_id and "*" not in principal.permissions:
        raise Refusal(FORBIDDEN, "You can only create sessions for yourself")
    for name in ("user_id", "message", "description", "team_id"):
        text = getattr(wish, name)
        if text and (len(text) > TEXT_LIMIT or "\0" in text):
            raise Refusal(INVALID_REQUEST, f"{wish.place(name)}: longer than {TEXT_LIMIT} characters, or contains NUL")
    if wish.repository:
        repository.parse(wish.repository, wish.place("repository"))
    if wish.script:
        kitchen.scripts.check(wish.script)
    agent, automatic = _pick(kitchen, wish)
    kept = {"script": wish.script, "repository": wish.repository, "env_file": wish.env_file}
    return agent, {"agent_automatic": automatic, "command": list(wish.command or ()), **kept}


def _pick(kitchen: Kitchen, wish: StartRequest) -> tuple[Agent, bool]:
    if wish.command:
        custom = kitchen.catalogue.agents["custom"]
        return kitchen.catalogue.with_command(custom, wish.command, allowed=kitchen.allow_commands), False
    try:
        choice = kitchen.catalogue.pick(wish.agent, kitchen.default_agent)
    except StepFailed as failure:
        raise Refusal(INVALID_REQUEST, f"$.agent: {failure.sentence}") from failure
    return choice.agent, choice.automatic


class Recipe:
    """The preparation of one session's incarnations (``runtime.supervisor.Preparation``)."""

    def __init__(self, kitchen: Kitchen, session: Session, wish: StartRequest, agent: Agent, resume: bool) -> None:
        self._kitchen = kitchen
        self._session = session
        self._wish = wish
        self._agent = agent
        self._resume = resume

    async def prepare(self, port: int, report: Callable[[str], None]) -> Prepared:
        """Make directory, clone and HOME.

        :raises StepFailed: a step could not be done.
        """
        kitchen, wish = self._kitchen, self._wish
        report("directory")
        directory = await kitchen.directories.make(self._session.id)
        home = kitchen.homes.of(self._session.owner) if kitchen.per_user_home else directory.root / "home"
        values = await self._environment({"HOME": str(home), "TMPDIR": str(directory.tmp)}, port)
        report("home")
        await kitchen.homes.prepare(home, self._agent.home, {**values, "WORK": str(directory.work)})
        if wish.repository:
            report("clone")
            await kitchen.cloner.clone(repository.parse(wish.repository), directory.work, home, self._token())
        script = wish.script

        def wrap(argv: tuple[str, ...]) -> tuple[str, ...]:
            return kitchen.scripts.argv(script, port, argv) if script else argv

        return Prepared(
            command=self._agent.argv(resume=self._resume),
            agent_type=self._agent.type,
            environment=values,
            directory=directory.work,
            wrap=wrap,
        )

    def _token(self) -> str | None:
        return self._wish.github_token or self._wish.environment.get("GITHUB_TOKEN")

    async def _environment(self, fixed: Mapping[str, str], port: int) -> dict[str, str]:
        wish = self._wish
        chosen = await self._kitchen.env_files.named(wish.env_file) if wish.env_file else None
        github = {"GITHUB_TOKEN": wish.github_token} if wish.github_token else {}
        return environment.merge(
            environment.Layers(
                server=self._kitchen.server_environment(self._agent.needs),
                agent=self._agent.environment,
                github=github,
                env_file=chosen.values if chosen else {},
                request=wish.environment,
                fixed={**fixed, "AGENTPROXY_SESSION_ID": self._session.id, "AGENTAPI_PORT": str(port)},
            )
        )
