"""Options about agents and their sessions."""

# ruff: noqa: RUF009 - `option` and its siblings return dataclass fields
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentproxy.config.fields import NOTHING, Rule, not_negative, option, positive, section

POSITIVE: Rule = {"expected": "a number above 0", "check": positive}
COUNT: Rule = {"expected": "a number of 0 or more", "check": not_negative}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What differs from the catalogue for one agent; an agent with a new name needs ``command``."""

    command: tuple[str, ...] | None = option(None, "Program and arguments, as a list.")
    type: str | None = option(None, "Type that the agent server is told (`claude`, `codex`, ..., `custom`).")
    title: str | None = option(None, "Name for people.")
    environment: Mapping[str, str] = option(NOTHING, "Environment of this agent's sessions.", secret=True)
    needs: tuple[str, ...] | None = option(None, "Variables of the server that its sessions get.")
    interrupt: tuple[str, ...] | None = option(None, "Keys that interrupt it, as typed.")
    resume: tuple[str, ...] | None = option(None, "Arguments that continue its last conversation.")
    marks: Mapping[str, tuple[str, ...]] = option(
        NOTHING,
        "Regular expressions over the last rows of its screen, by what they show; docs/attention.md names them.",
    )
    allow: tuple[str, ...] | None = option(None, "Keys that say yes to an approval that it wants.")
    deny: tuple[str, ...] | None = option(None, "Keys that say no to it.")
    clear: tuple[str, ...] | None = option(None, "Keys that empty its input line.")
    acp: bool = option(
        False,
        "It speaks the Agent Client Protocol on its pipes: what it asks leave for is an approval, marks and keys are not used."
        " Needs the embedded agent server.",
    )
    install: str | None = option(None, "Sentence that says how to install it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Soft limits of each session; missing means no limit."""

    memory: int | None = option(None, "Address space of each process of a session.", unit="bytes", **POSITIVE)
    open_files: int | None = option(None, "Open files of each process.", **POSITIVE)
    processes: int | None = option(
        None, "Processes and threads of the UNIX user that a session runs as; without effect for root.", **POSITIVE
    )
    wall_time: float | None = option(None, "Life of a session, then it is stopped.", unit="seconds", **POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How sessions start, live and end."""

    max_concurrent_starts: int = option(8, "Sessions that start at the same time; more wait in a queue.", **POSITIVE)
    max_queued: int = option(200, "Start requests that may wait; more are refused with 429.", **COUNT)
    start_timeout: float = option(30.0, "Until the agent server listens.", unit="seconds", **POSITIVE)
    ready_timeout: float = option(
        60.0, "Until the agent server answers; with `?wait=stable` again until its agent can take a message.",
        unit="seconds", **POSITIVE,
    )  # fmt: skip
    clone_timeout: float = option(600.0, "Until a repository is cloned.", unit="seconds", **POSITIVE)
    first_message_timeout: float = option(
        120.0, "Until the agent can take the first message; then the session says that it was not delivered.",
        unit="seconds", **POSITIVE,
    )  # fmt: skip
    stop_grace: float = option(
        10.0, "How long an agent server may take to end when it is told to; then everything of its session is killed.",
        unit="seconds", **COUNT,
    )  # fmt: skip
    on_shutdown: Literal["stop", "keep"] = option(
        "stop",
        "What the server's end means for sessions: `stop` ends them, `keep` leaves them for the next start.",
        danger="`keep` leaves agents running that nobody watches until the server is back.",
    )
    adopt: bool = option(
        True, "Go on with the sessions of the server before this one; off: what it left running is ended at the start."
    )
    restart: Literal["never", "resume"] = option(
        "never",
        "When the machine was started anew: `resume` starts sessions again and continues their conversation; "
        "a request can say it for its own session.",
    )
    shutdown_grace: float = option(30.0, "For the end of all sessions at shutdown.", unit="seconds", **COUNT)
    per_user_home: bool = option(True, "One HOME for all sessions of a user; off: one for each session.")
    homes_dir: Path | None = option(
        None, "Where the HOMEs are (also `USERHOME_BASEDIR`); `homes` in `data_dir` when missing."
    )
    pass_environment: tuple[str, ...] = option(
        ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
         "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
        "Variables of the server that sessions get.",
        danger="Every user can read what stands here.",
    )  # fmt: skip
    local_repository_roots: tuple[Path, ...] = option(
        (), "Folders below which a request may clone local repositories; none when empty.",
        danger="Every user can read what is below them.",
    )  # fmt: skip
    env_files_dir: Path | None = option(None, "Folder that `tags.env_file` names files in; refused when missing.")
    terminal_width: int = option(80, "Columns of the agent's terminal.", **POSITIVE)
    terminal_height: int = option(100, "Lines of the agent's terminal; more cost CPU while idle.", **POSITIVE)
    isolation: Literal["none", "bwrap", "user"] = option(
        "none", "Fence around a session: `bwrap` needs bubblewrap, `user` needs root.",
        danger="With `none` every agent can read what the server can read.",
    )  # fmt: skip
    network: Literal["auto", "shared", "private", "none"] = option(
        "auto", "Network of a session behind `bwrap`: `shared` is this machine's, `private` one of its own with a way out but none"
        " to this machine (needs slirp4netns), `none` has no way out. `auto`: `private` where that can be had, else `shared`.",
        danger="`shared` leaves every port of this machine's loopback open to agents. With the others an agent does not reach a"
        " model or a server on this machine.",
    )  # fmt: skip
    first_unix_user: int = option(
        200_000, "First user id that `isolation: user` gives to owners; a range that nobody else uses.", **POSITIVE
    )
    limits: LimitOptions = section(LimitOptions, "Soft limits of each session; missing means no limit.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleEnvFileOptions:
    """Environment files by role."""

    enabled: bool = option(False, "Give sessions `default.env` and `ROLE.env` of the folder.")
    path: Path = option(Path("/etc/agentapi/env"), "The folder.")
    load_default: bool = option(True, "Use `default.env`.")
