"""The fence around sessions, put up once on trial at the start, so that the operator learns then what it stops and what not."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.config import Config
from agentproxy.config.secret_files import secret_directories, secret_files
from agentproxy.runtime import isolation, networks
from agentproxy.runtime.isolation import Bubblewrap, Isolation
from agentproxy.runtime.unix_users import AsOwner, Users

log = Logger()
UNREADABLE = (
    "sessions.isolation: user needs a server that every user can read, because agent servers run as their owner's; "
    "install it elsewhere, such as in /opt/agentproxy"
)


@dataclass(frozen=True, slots=True)
class Fence:
    """What all sessions are started behind.

    :param sockets: where their agent servers listen on UNIX sockets, None when they lease ports.
    """

    isolation: Isolation
    sockets: Path | None


async def put_up(config: Config, file: Path | None, has_door: bool) -> Fence:
    """Return the fence of the configuration, and say what it leaves open.

    :param file: the configuration's own file.
    :param has_door: whether the agent server is ours.
    :raises Refusal: START_UNAVAILABLE, a program that it needs is not installed.
    :raises ValueError: it cannot be put up here; the text says why and what helps.
    """
    wanted = config.sessions
    if wanted.isolation == "user" and os.geteuid() != 0:
        raise ValueError("sessions.isolation: user needs root, which may become every user; use bwrap")
    if wanted.isolation == "none":
        log.warn("{sentence}", sentence=isolation.OPEN)
    hidden = secret_directories(config)
    users = Users(config.data_dir, hidden, wanted.first_unix_user)
    fence = isolation.resolve(wanted.isolation, hidden, users, secret=secret_files(config, file))
    sockets = config.runtime_dir if config.agent_server_listen == "unix" else None
    if isinstance(fence, AsOwner) and has_door:
        why = await deferToThread(fence.obstacle)
        if why is not None:
            raise ValueError(f"{UNREADABLE}: {why}")
    if not isinstance(fence, Bubblewrap):
        return Fence(fence, sockets)
    why = await deferToThread(fence.obstacle)
    if why is not None:
        raise ValueError(f"sessions.isolation: bwrap cannot be put up here: {why}")
    chosen = await deferToThread(networks.choose, wanted.network, has_door, fence.obstacle)
    if chosen.sentence is not None:
        log.warn("{sentence}", sentence=chosen.sentence)
    network = chosen.network
    return Fence(replace(fence, network=network), sockets if network.kind == "shared" else config.runtime_dir)
