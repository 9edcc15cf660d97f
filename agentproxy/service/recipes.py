"""What sessions are made of here: the configuration as the kitchen, the ground and the terms of every start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from agentproxy.config import Config
from agentproxy.config.overlay import overlay_of
from agentproxy.features.fencing import Fence
from agentproxy.features.making import Terms
from agentproxy.features.preparing import Kitchen
from agentproxy.model.environment import clean
from agentproxy.model.repository import GITHUB, github_host
from agentproxy.runtime import agent_servers, catalogue, cgroups
from agentproxy.runtime.clone import Cloner, CloneRules
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.launching import Launcher
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.start_queue import StartQueue
from agentproxy.runtime.starting import Ground
from agentproxy.runtime.watching import read_boot_id
from agentproxy.service.cannot_start import CannotStart

log = Logger()


def session_directories(config: Config) -> Directories:
    """Return where every session has its directory."""
    return Directories(config.data_dir / "sessions")


def agent_server(config: Config) -> agent_servers.AgentServer:
    """Return the agent server that a start would take now.

    :raises Refusal: the program is not installed.
    """
    command = config.agentapi_command
    grace = config.sessions.stop_grace
    return agent_servers.resolve(config.agent_server, lambda _name: shutil.which(command), grace=grace)


def ground(config: Config, fence: Fence, launcher: Launcher, reactor: Any) -> Ground:
    """Return what all starts share on this machine, and say what it cannot promise."""
    wanted = config.sessions
    root = cgroups.find_root()
    if root is None:
        log.warn("{sentence}", sentence=cgroups.CANNOT_PROMISE)
    return Ground(
        reactor,
        Ports(config.start_port, config.end_port),
        StartQueue(wanted.max_concurrent_starts, wanted.max_queued),
        read_boot_id(),
        cgroups.Cgroups(root) if root is not None else None,
        fence.isolation,
        launcher,
    )


def terms(config: Config, sockets: Path | None) -> Terms:
    """Return what holds for every session.

    :param sockets: where agent servers listen on UNIX sockets, None for ports.
    """
    wanted = config.sessions
    return Terms(
        choose_agent_server=lambda: agent_server(config),
        listen_within=wanted.start_timeout,
        answer_within=wanted.ready_timeout,
        wall_time=wanted.limits.wall_time,
        first_message_within=wanted.first_message_timeout,
        width=wanted.terminal_width,
        height=wanted.terminal_height,
        limits=Limits(wanted.limits.memory, wanted.limits.processes, wanted.limits.open_files),
        sockets=sockets,
        stop_grace=wanted.stop_grace,
        restart=wanted.restart,
    )


def kitchen(config: Config, environ: Mapping[str, str], reactor: Any) -> Kitchen:
    """Return what wishes are checked against and directories are prepared with.

    :param environ: the server's own; what agents see of it is configured.
    :raises CannotStart: a value of ``agents:`` is wrong, or ``default_agent`` is none of them.
    """
    wanted = config.sessions
    visible = clean(environ, wanted.pass_environment)
    host = github_host(config.auth.github.base_url)
    return Kitchen(
        catalogue=catalogue_of(config),
        directories=session_directories(config),
        homes=Homes(wanted.homes_dir or config.data_dir / "homes"),
        scripts=Scripts(config.scripts, lambda name: _which(name, visible)),
        env_files=EnvFiles(wanted.env_files_dir),
        cloner=_cloner(config, host, visible, reactor),
        server_environment=lambda needs: clean(environ, (*wanted.pass_environment, *needs)),
        default_agent=config.default_agent,
        allow_commands=config.allow_commands,
        per_user_home=wanted.per_user_home,
        role_files=EnvFiles(config.role_env_files.path) if config.role_env_files.enabled else None,
        role_default=config.role_env_files.load_default,
        github_host=host,
        github_api=config.auth.github.base_url if host != GITHUB else None,
    )


def _cloner(config: Config, host: str, visible: Mapping[str, str], reactor: Any) -> Cloner:
    wanted = config.sessions
    setsid, git = (_which(name, visible) or name for name in ("setsid", "git"))
    rules = CloneRules(roots=wanted.local_repository_roots, token_hosts=(GITHUB, host), timeout=wanted.clone_timeout)
    return Cloner(reactor, reactor, (setsid, git), rules, visible)


def catalogue_of(config: Config) -> catalogue.Catalogue:
    """Return the catalogue with the configuration's ``agents:`` laid over it.

    :raises CannotStart: a value is wrong, or ``default_agent`` is none of them; the text has its path.
    """
    try:
        found = catalogue.load(overlay_of(config.agents))
    except ValueError as error:
        raise CannotStart(str(error)) from error
    if config.default_agent not in ("auto", *found.agents):
        raise CannotStart(f"default_agent: {catalogue.unknown('agent', config.default_agent, found.agents)}")
    return found


def _which(name: str, environment: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=environment.get("PATH"))
