"""What a session is made of: a wish is checked against the rules, then its directory, HOME, clone and environment are prepared.

Checks come before anything is written; the steps run in the order in which a failure is cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentproxy.errors import INVALID_REQUEST, START_UNAVAILABLE, Refusal
from agentproxy.model import environment, repository, tags, text
from agentproxy.model.principal import Principal
from agentproxy.model.repository import Repository
from agentproxy.model.session import Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime.catalogue import Agent, Catalogue, unknown
from agentproxy.runtime.clone import Cloner
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.launching import LaunchFailed, find_program
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.starting import Prepared
from agentproxy.runtime.steps import StepFailed


@dataclass(frozen=True, slots=True)
class Kitchen:
    """The places and rules that recipes use.

    :param server_environment: what sessions may see of the server's environment, with the names that an agent needs.
    :param per_user_home: one HOME for all sessions of a user; else one a session.
    :param role_files: the folder of roles' environment files, None when roles have none.
    :param role_default: whether ``default.env`` of that folder is used.
    :param github_host: the host that ``owner/name`` means.
    :param github_api: its API where that is not GitHub's own; sessions get it as ``GITHUB_API``.
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
    role_files: EnvFiles | None = None
    role_default: bool = True
    github_host: str = "github.com"
    github_api: str | None = None

    def home(self, session: Session) -> Path:
        """Return the HOME of a session, made or not."""
        return self.homes.of(session.owner) if self.per_user_home else self.directories.of(session.id).home


def check(kitchen: Kitchen, wish: StartRequest) -> tuple[Agent, Mapping[str, Any]]:
    """Return the agent of a wish and the options that its record keeps.

    :raises Refusal: INVALID_REQUEST, naming the field; START_UNAVAILABLE, the agent is not installed.
    """
    environment.check(wish.environment)
    environment.check_value(wish.github_token or "", wish.place("github_token"))
    tags.check(wish.tags)
    for name in ("message", "description"):
        text.check(getattr(wish, name) or "", wish.place(name))
    for name in ("user_id", "team_id"):
        text.check(getattr(wish, name) or "", wish.place(name), text.NAME_LIMIT)
    if wish.scope == "team" and not wish.team_id:
        raise Refusal(INVALID_REQUEST, f"{wish.place('team_id')}: needed when scope is team")
    if wish.repository:
        place = wish.place("repository")
        kitchen.cloner.check(repository.parse(wish.repository, place, kitchen.github_host), place)
    if wish.env_file:
        kitchen.env_files.check(wish.env_file, wish.place("env_file"))
    if wish.script:
        kitchen.scripts.check(wish.script)
    agent, automatic = _pick(kitchen, wish)
    kept: dict[str, Any] = {"script": wish.script, "repository": wish.repository, "env_file": wish.env_file}
    if wish.message:
        kept["first_message"] = {"outcome": "waiting", "reason": ""}
    return agent, {"agent_automatic": automatic, "command": list(wish.command or ()), **kept}


def role_facts(principal: Principal, wish: StartRequest) -> Mapping[str, Any]:
    """Return whose role's environment files a session gets, for its record; who starts it for another gives none of theirs."""
    if wish.user_id and wish.user_id != principal.user_id:
        return {}
    return {"role": principal.role, "team_env_file": principal.env_file}


def agent_of(kitchen: Kitchen, session: Session) -> Agent:
    """Return the agent that runs in a session, whether or not it could be started now.

    :raises Refusal: INVALID_REQUEST, the catalogue does not know it any more.
    """
    agent = kitchen.catalogue.agents.get(session.agent)
    if agent is None:
        raise Refusal(INVALID_REQUEST, unknown("agent", session.agent, kitchen.catalogue.agents))
    command = tuple(session.options.get("command") or ())
    return kitchen.catalogue.with_command(agent, command, allowed=True) if command else agent


def _pick(kitchen: Kitchen, wish: StartRequest) -> tuple[Agent, bool]:
    if wish.command:
        custom = kitchen.catalogue.agents["custom"]
        return kitchen.catalogue.with_command(custom, wish.command, allowed=kitchen.allow_commands), False
    try:
        choice = kitchen.catalogue.pick(wish.agent, kitchen.default_agent)
    except StepFailed as failure:
        where = f"{wish.place('agent')}: " if wish.agent else ""
        raise Refusal(START_UNAVAILABLE, f"{where}{failure.sentence}", facts={"step": failure.step}) from failure
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
        home = kitchen.home(self._session)
        values = await self._environment({"HOME": str(home), "TMPDIR": str(directory.tmp)}, port)
        report("home")
        await kitchen.homes.prepare(home, self._agent.home, {**values, "WORK": str(directory.work)})
        found: Repository | None = None
        if wish.repository:
            report("clone")
            place = wish.place("repository")
            found = repository.parse(wish.repository, place, kitchen.github_host)
            await kitchen.cloner.clone(found, directory.work, home, values.get("GITHUB_TOKEN"), place)
        github = found is not None and found.host == kitchen.github_host
        script = wish.script or kitchen.scripts.choose(github, values)
        command = self._agent.argv(resume=self._resume)
        if script is None or kitchen.scripts.ours(script):
            _find(command, values, directory.work)

        def wrap(argv: tuple[str, ...]) -> tuple[str, ...]:
            return kitchen.scripts.argv(script, port, argv) if script else argv

        return Prepared(
            command=command,
            agent_type=self._agent.type,
            acp=self._agent.acp,
            environment=values,
            directory=directory.work,
            wrap=wrap,
        )

    async def _role_layers(self) -> dict[str, Mapping[str, str]]:
        """Return the environment files of the role of whoever the session belongs to, as fields of ``Layers``."""
        files, options = self._kitchen.role_files, self._session.options
        if files is None:
            return {}
        role, team = options.get("role"), options.get("team_env_file")
        return {
            "role_default": (await files.role("default")).values if self._kitchen.role_default else {},
            "role": (await files.role(role)).values if role else {},
            "team": (await files.named(team, "env_file of the team")).values if team else {},
        }

    async def _environment(self, fixed: Mapping[str, str], port: int) -> dict[str, str]:
        wish = self._wish
        chosen = await self._kitchen.env_files.named(wish.env_file) if wish.env_file else None
        places = {"AGENTAPI_PORT": str(port)} if port else {}  # a UNIX socket has none
        github = {"GITHUB_API": self._kitchen.github_api} if self._kitchen.github_api else {}
        return environment.merge(
            environment.Layers(
                server=self._kitchen.server_environment(self._agent.needs),
                agent=self._agent.environment,
                github=github,
                **await self._role_layers(),
                env_file=chosen.values if chosen else {},
                request=wish.kept_environment(),
                fixed={**fixed, "AGENTPROXY_SESSION_ID": self._session.id, **places},
            )
        )


def _find(command: tuple[str, ...], values: Mapping[str, str], directory: Path) -> None:
    """Check that the agent's program can be run, so that the truth is told before an agent server stands around nothing.

    :raises StepFailed: ``agent``.
    """
    try:
        find_program(command, values, directory)
    except LaunchFailed as failed:
        raise StepFailed("agent", str(failed)) from None
