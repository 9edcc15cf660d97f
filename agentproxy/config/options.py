"""The tree of options: names, types, defaults, and what each one means. Nothing here reads files or the environment."""

# ruff: noqa: RUF009 - `option` and its siblings return dataclass fields
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentproxy.config.auth_options import (
    AuthOptions,
    GitHubOptions,
    KeyOptions,
    OAuthOptions,
    StaticOptions,
    TeamRole,
    UserMapping,
)
from agentproxy.config.fields import NOTHING, Rule, are_networks, are_origins, is_port, option, required, section
from agentproxy.config.message_options import ApprovalOptions, BudgetOptions, CullingOptions
from agentproxy.config.push_options import PushOptions
from agentproxy.config.session_options import (
    COUNT,
    POSITIVE,
    AgentOptions,
    LimitOptions,
    RoleEnvFileOptions,
    SessionOptions,
)

__all__ = [
    "AgentOptions",
    "AuthOptions",
    "Config",
    "GatewayOptions",
    "GitHubOptions",
    "KeyOptions",
    "LimitOptions",
    "ListenerOptions",
    "LogOptions",
    "OAuthOptions",
    "PushOptions",
    "RetentionOptions",
    "RoleEnvFileOptions",
    "SessionOptions",
    "StaticOptions",
    "StoreOptions",
    "TeamRole",
    "UserMapping",
]

PORT: Rule = {"expected": "a port from 0 to 65535", "check": is_port}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOptions:
    """One place to listen at."""

    endpoint: str = required(
        "Twisted endpoint string: `tcp:8080:interface=127.0.0.1`, `unix:/run/agentproxy.sock`, ..."
    )
    faces: tuple[Literal["xapi"], ...] = option(("xapi",), "The HTTP dialects that it serves.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Forwarding of requests to the agent servers."""

    start_wait: float = option(
        30.0, "How long a request waits for a session that starts; then 503.", unit="seconds", **COUNT
    )
    connect_timeout: float = option(5.0, "Until an agent server takes the connection.", unit="seconds", **POSITIVE)
    first_byte_timeout: float = option(600.0, "Until an agent server begins its answer.", unit="seconds", **POSITIVE)
    idle_timeout: float = option(
        3600.0, "Without a byte in either direction, then the connection is closed.", unit="seconds", **POSITIVE
    )
    keepalive: float = option(
        15.0, "Silence after which an event stream gets a comment line.", unit="seconds", **POSITIVE
    )
    max_head_bytes: int = option(32768, "Size of a request head; more is 431.", unit="bytes", **POSITIVE)
    max_headers: int = option(100, "Header fields of a request; more is 431.", **POSITIVE)
    head_timeout: float = option(30.0, "Until a request head is complete; then 408.", unit="seconds", **POSITIVE)
    body_timeout: float = option(60.0, "Silence within a request body; then 408.", unit="seconds", **POSITIVE)
    pool_per_backend: int = option(32, "Idle connections kept for each agent server.", **COUNT)
    agent_pages: Literal["sandboxed", "trusted"] = option(
        "sandboxed", "What pages are that agent servers answer with: `sandboxed`, strangers to this server's own pages; `trusted`,"
        " pages of its own.",
        danger="`trusted` pages (the real agentapi's `/chat` needs that) act as whoever opens them.",
    )  # fmt: skip
    guard_approvals: bool = option(
        True, "Refuse a user message that is posted to an agent which waits for an approval.",
        danger="Without it an agent takes the message as its answer: Codex runs the command.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionOptions:
    """What the store forgets, in small steps while the server runs."""

    events_days: float | None = option(
        90.0, "Events of the journal that are older go; null keeps them for ever.", unit="days", **POSITIVE
    )
    journal_bytes: int | None = option(
        2_147_483_648, "The oldest events go while the journal is larger; null is any size.", unit="bytes", **POSITIVE
    )
    ended_days: float | None = option(
        None, "Sessions that ended so long ago go with everything; null keeps them until they are deleted.",
        unit="days", danger="Their transcripts go too.", **POSITIVE,
    )  # fmt: skip
    deleted_days: float | None = option(
        30.0, "The history of a deleted session goes so long after it; null keeps it for ever.", unit="days", **POSITIVE
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where sessions and their history are kept."""

    url: str | None = option(
        None,
        "`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; SQLite in `data_dir` when missing.",
        secret=True,
    )
    synchronous: Literal["normal", "full"] = option(
        "normal", "SQLite: `full` survives a power cut too, at the cost of one disk flush for each commit."
    )
    retention: RetentionOptions = section(RetentionOptions, "What the store forgets, in small steps.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The server's log."""

    format: Literal["text", "json"] = option("text", "`text` for people, `json` one object a line.")
    level: Literal["debug", "info", "warn", "error"] = option("info", "The least important line that is written.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be configured."""

    listen: str = option(
        "127.0.0.1", "Address to listen at.", danger="Any other address than loopback lets other machines in."
    )
    port: int = option(8080, "Port to listen at; 0 takes a free one.", **PORT)
    listeners: tuple[ListenerOptions, ...] = option(
        (), "Listen at these endpoints instead of `listen` and `port`: a list of `{endpoint, faces}`."
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        "Addresses or networks whose `X-Forwarded-*` headers are believed.",
        danger="Who is in this list can claim any address.",
        expected="addresses or networks such as 10.0.0.0/8",
        check=are_networks,
    )
    allowed_origins: tuple[str, ...] = option(
        (),
        "Browser origins that may use the API (also `ALLOWED_ORIGINS`); only loopback when empty.",
        danger="`*` lets every web page that a user visits use the API.",
        expected="origins such as https://app.example.org",
        check=are_origins,
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "Names by which requests may call the server (`*.example.org`: every name below). Empty: every name with"
        " authentication; without it only addresses, `localhost` and names without a dot.",
        danger="`*` lets a page that a user visits reach the server under a name of its own (DNS rebinding).",
    )
    data_dir: Path = required(
        "Where everything is kept: the store, HOMEs, session directories.",
        shown_default="$XDG_STATE_HOME/agentproxy or ~/.local/state/agentproxy; for root /var/lib/agentproxy",
    )
    runtime_dir: Path = required(
        "Where UNIX sockets are; a short path.",
        shown_default="`run` in `data_dir`, or a folder of the temporary directory when that is too long",
    )
    start_port: int = option(9000, "First port for agent servers.", **PORT)
    end_port: int = option(65535, "Last port for agent servers.", **PORT)
    agent_server: Literal["auto", "embedded", "agentapi"] = option(
        "auto",
        "The program around each agent: our own, or `agentapi` from PATH; `auto` is our own where it is there.",
        danger="`agentapi` listens on all interfaces and asks nobody: fence its ports.",
    )
    agent_server_listen: Literal["tcp", "unix"] = option(
        "tcp",
        "How our own agent server listens: `tcp` on a leased port of loopback, `unix` on a socket in `runtime_dir`.",
    )
    agentapi_command: str = option("agentapi", "Name or path of the `agentapi` program.")
    default_agent: str = option("auto", "Agent of a request that names none; `auto`: the first on PATH, else `demo`.")
    agents: Mapping[str, AgentOptions] = option(NOTHING, "Changes to the catalogue of agents, by name.")
    allow_commands: bool = option(
        False, "Let requests bring a command of their own.", danger="Whoever may start a session may run anything."
    )
    scripts: Mapping[str, Path] = option(NOTHING, "Further start-up scripts: name to path.")
    role_env_files: RoleEnvFileOptions = section(RoleEnvFileOptions, "Environment files by role.")
    sessions: SessionOptions = section(SessionOptions, "How sessions start, live and end.")
    culling: CullingOptions = section(CullingOptions, "When sessions end by themselves.")
    approvals: ApprovalOptions = section(ApprovalOptions, "Approvals that agents want.")
    budgets: tuple[BudgetOptions, ...] = option(
        (), "Limits on what is spent: a list of `{subject, measure, limit, per}`."
    )
    push: PushOptions = section(PushOptions, "Notifications to browsers.")
    auth: AuthOptions = section(AuthOptions, "Who is let in.")
    auth_config_file: Path | None = option(
        None, "YAML or JSON file whose `github.user_mapping` replaces that of `auth`."
    )
    gateway: GatewayOptions = section(GatewayOptions, "Forwarding of requests to the agent servers.")
    store: StoreOptions = section(StoreOptions, "Where sessions and their history are kept.")
    log: LogOptions = section(LogOptions, "The server's log.")
