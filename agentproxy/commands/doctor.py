"""``agentproxy doctor``: looks at this machine as the server would, and says what to do. Changes nothing."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click
import psutil

from agentproxy.commands import keeping, output
from agentproxy.commands.finding import Finding
from agentproxy.config import Config, ConfigError, Loaded
from agentproxy.config.overlay import overlay_of
from agentproxy.runtime import agent_servers, catalogue, cgroups, ports

SIGNS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "bad": ("✗", "red")}
FREE_DISK = 1 << 30
OPEN_FILES = 4096
FREE_MEMORY = 512 << 20


@click.command()
@click.option("-c", "--config", "file", metavar="FILE", help="The file; looked for as the server does when missing.")
@output.json_option
def doctor(file: str | None) -> None:
    """Look at this machine as the server would, and say what to do.

    It looks at agents and their versions, keys, certificates, ports, directories, limits, disk and clock. The status is 1 when
    something will fail.
    """
    from agentproxy.daemon import load_here

    try:
        loaded = load_here(file)
    except ConfigError as error:
        findings = [Finding("bad", "configuration", str(error), "Correct it; `agentproxy config check` looks again.")]
    else:
        with output.progress("looking"):
            findings = list(examine(loaded))
    output.show({"findings": [asdict(one) for one in findings]}, (_line(one) for one in findings))
    if any(one.level == "bad" for one in findings):
        raise SystemExit(1)


def _line(one: Finding) -> str:
    sign, colour = SIGNS[one.level]
    advice = f"\n    {one.advice}" if one.advice else ""
    return f"{click.style(sign, fg=colour)} {one.subject}: {one.sentence}{advice}"


def examine(loaded: Loaded) -> Iterator[Finding]:
    """Yield everything that there is to say about this machine and a configuration."""
    config = loaded.config
    source = "the defaults" if not set(loaded.sources.values()) - {"default"} else "a file or the environment"
    yield Finding("ok", "configuration", f"can be used, from {source}")
    for warning in loaded.warnings:
        yield Finding("note", "configuration", warning)
    yield from agents(config)
    yield agent_server(config)
    yield from programs()
    yield directory(config.data_dir)
    yield disk(config.data_dir)
    yield from keeping.secrets(loaded)
    yield from keeping.certificates(config)
    yield keeping.clock(config.data_dir)
    yield listening(config)
    yield session_ports(config)
    yield from limits()
    yield fence(config)
    yield from running(config)


def agents(config: Config) -> Iterator[Finding]:
    """Yield each agent that is there, with its version and what it lacks."""
    found = 0
    for agent in catalogue.load(overlay_of(config.agents)).agents.values():
        program = agent.command[0] if agent.command else ""
        if agent.name in config.agents and program and shutil.which(program) is None:
            yield Finding(
                "bad", f"agent {agent.name}", f"{program} is not on PATH", "Install it, or correct its command."
            )
        if agent.name in catalogue.LAST or not program or shutil.which(program) is None:
            continue
        found += 1
        keys = [name for name in agent.needs if name.endswith(("_KEY", "_TOKEN"))]
        said = version(program)
        if keys and not any(os.environ.get(name) for name in keys):
            advice = (
                f"Set one of {', '.join(keys)} for the server, or let requests bring one, or log in within its HOME."
            )
            yield Finding("note", f"agent {agent.name}", f"{said}; no key in the environment", advice)
        else:
            yield Finding("ok", f"agent {agent.name}", said)
    if not found and config.default_agent == "auto":
        first = catalogue.load({}).agents["claude"]
        yield Finding("note", "agents", "none on PATH; sessions get the demo agent", f"{first.title}: {first.install}")
    if config.default_agent != "auto":
        yield default_agent(config)


def default_agent(config: Config) -> Finding:
    """Say whether sessions for which nobody names an agent can start."""
    agent = catalogue.load(overlay_of(config.agents)).agents.get(config.default_agent)
    if agent is None:
        return Finding("bad", "default agent", f"{config.default_agent} is not known", "Correct default_agent.")
    if agent.command and shutil.which(agent.command[0]) is None:
        said = f"{agent.command[0]} is not on PATH, so no session starts that names no agent"
        advice = f"Install it: {agent.install}" if agent.install else "Install it, or correct its command."
        return Finding("bad", "default agent", said, advice)
    return Finding("ok", "default agent", config.default_agent)


def version(program: str) -> str:
    """Return what a program says of its version, in one line."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"found, but `{program} --version` fails: {error}"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0][:100] if lines else "found"


def agent_server(config: Config) -> Finding:
    """Say which program will stand around the agents."""
    command = config.agentapi_command
    if config.agent_server == "agentapi" and shutil.which(command) is None:
        advice = "Install it from its releases and put it on PATH, or set agent_server: embedded."
        return Finding("bad", "agent server", f"{command} is not on PATH", advice)
    if config.agent_server == "agentapi":
        advice = "It listens on all interfaces and asks nobody: fence its ports, or set agent_server: embedded."
        return Finding("note", "agent server", version(command), advice)
    known = agent_servers.embedded_exists()
    return Finding(
        "ok" if known else "bad", "agent server", "embedded" if known else "the embedded one is not installed"
    )


def programs() -> Iterator[Finding]:
    """Yield the programs that sessions use."""
    for name, use in (
        ("git", "cloning repositories"),
        ("bash", "start-up scripts"),
        ("setsid", "cloning repositories"),
    ):
        if shutil.which(name) is None:
            yield Finding("bad", name, f"is not on PATH; needed for {use}", f"Install {name}.")


def directory(path: Path) -> Finding:
    """Say whether the data directory can be used, and whether others can read it."""
    above = next(one for one in (path, *path.parents) if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return Finding(
            "bad", "data directory", f"{path} cannot be made or written", "Change its owner, or set data_dir."
        )
    if path.exists() and path.stat().st_mode & 0o077:
        return Finding("note", "data directory", f"{path} can be entered by others", f"chmod 700 {path}")
    try:
        with tempfile.NamedTemporaryFile(dir=above):
            return Finding("ok", "data directory", str(path))
    except OSError as error:
        return Finding(
            "bad", "data directory", f"{path} cannot be written: {error.strerror}", "Change it, or set data_dir."
        )


def disk(path: Path) -> Finding:
    """Say how much is free where the data is."""
    above = next(one for one in (path, *path.parents) if one.exists())
    free = shutil.disk_usage(above).free
    said = f"{free / (1 << 30):.1f} GiB free"
    return Finding(
        "ok" if free > FREE_DISK else "bad", "disk", said, "" if free > FREE_DISK else "Make room; writes will fail."
    )


def listening(config: Config) -> Finding:
    """Say where the server listens, and whether it can."""
    where = f"{config.listen}:{config.port}"
    if config.listeners:
        return Finding("ok", "listeners", ", ".join(one.endpoint for one in config.listeners))
    if config.port and not ports.is_free(config.port) and not _answers(config):
        return Finding("bad", "port", f"{where} is used by another program", "Set port, or end that program.")
    if config.port and config.port < 1024 and os.geteuid() != 0:
        return Finding("bad", "port", f"{where} needs root", "Set a port above 1023, or use systemd's socket.")
    return Finding("ok", "port", where)


def session_ports(config: Config) -> Finding:
    """Say whether there are ports for agent servers, outside of what the kernel hands out."""
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        low = 65_536
    said = f"{config.start_port} to {config.end_port} for agent servers"
    if config.end_port >= low > config.start_port:
        return Finding("ok", "ports", f"{said}; from {low} on the kernel gives some away, these are passed over")
    return Finding("ok", "ports", said)


def limits() -> Iterator[Finding]:
    """Yield the limits of this process that a busy server meets first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or soft >= OPEN_FILES
    advice = "" if enough else f"ulimit -n {OPEN_FILES}, or LimitNOFILE in the unit; a stream takes two."
    yield Finding("ok" if enough else "note", "open files", f"{soft} of at most {hard}", advice)
    free = psutil.virtual_memory().available
    enough = free > FREE_MEMORY
    said = f"{free / (1 << 30):.1f} GiB available"
    yield Finding("ok" if enough else "note", "memory", said, "" if enough else "A coding agent takes 200 MB and more.")


def fence(config: Config) -> Finding:
    """Say how sessions are fenced, and whether nothing of them can be left."""
    if config.sessions.isolation == "bwrap" and shutil.which("bwrap") is None:
        return Finding("bad", "isolation", "bwrap is not on PATH", "Install bubblewrap, or set sessions.isolation.")
    if cgroups.find_root() is None:
        return Finding("note", "cgroup", "none that can be written", cgroups.CANNOT_PROMISE)
    return Finding("ok", "isolation", f"{config.sessions.isolation}; each session has a cgroup")


def _answers(config: Config) -> float | None:
    """Return the clock of a server of ours at the configured port, or None."""
    host = "127.0.0.1" if config.listen in ("0.0.0.0", "::") else config.listen
    connection = HTTPConnection(host, config.port, timeout=2)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        known = answer.status == 200 and b"ok" in answer.read(100)
        return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() if known else None
    except (OSError, HTTPException, ValueError, TypeError):
        return None
    finally:
        connection.close()


def running(config: Config) -> Iterator[Finding]:
    """Yield whether a server runs at the configured port, and whether its clock is ours."""
    if config.listeners or not config.port:
        return
    clock = _answers(config)
    if clock is None:
        yield Finding(
            "note", "server", f"none answers at {config.listen}:{config.port}", "Start one: agentproxy server"
        )
        return
    yield Finding("ok", "server", f"one answers at {config.listen}:{config.port}")
    if abs(clock - time.time()) > 5:
        yield Finding("note", "clock", f"the server's differs by {abs(clock - time.time()):.0f} s", "Use NTP on both.")
