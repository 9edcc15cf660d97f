"""Rules over several options together: what must not be started."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from agentproxy.config.faults import Fault
from agentproxy.config.options import Config

WRAPPERS = ("haproxy",)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def endpoint_is_local(endpoint: str) -> bool:
    """Return whether only this machine reaches a Twisted endpoint string; in doubt not."""
    parts = [part.replace("\\", "") for part in re.split(r"(?<!\\):", endpoint)]
    while parts and parts[0] in WRAPPERS:
        parts.pop(0)
    if not parts:
        return False
    if parts[0] == "unix":
        return True
    interface = next((part.removeprefix("interface=") for part in parts if part.startswith("interface=")), "")
    return parts[0] in ("tcp", "tcp4", "tcp6", "ssl", "tls") and is_loopback(interface)


def open_places(config: Config) -> list[str]:
    """Return where the server listens for other machines too."""
    if config.listeners:
        return [entry.endpoint for entry in config.listeners if not endpoint_is_local(entry.endpoint)]
    return [] if is_loopback(config.listen) else [config.listen or "all addresses"]


def contradictions(config: Config) -> Iterator[Fault]:
    """Yield what is wrong although each option alone is right."""
    places = open_places(config)
    if places and not config.auth.enabled and not config.auth.allow_anonymous:
        yield Fault(
            "auth.enabled",
            f"authentication is off, and other machines reach {', '.join(places)}: whoever does can run programs as you;"
            " enable it, listen at 127.0.0.1, or write auth.allow_anonymous: true",
        )
    if config.sessions.isolation == "user" and config.agent_server_listen == "unix":
        yield Fault("sessions.isolation", "`user` does not go with agent_server_listen: unix; use tcp")
    if config.sessions.network in ("private", "none") and config.sessions.isolation != "bwrap":
        yield Fault("sessions.network", f"`{config.sessions.network}` needs sessions.isolation: bwrap")
    if config.end_port < config.start_port:
        yield Fault("end_port", f"expected at least start_port ({config.start_port}), found {config.end_port}")
    if config.start_port == 0:
        yield Fault("start_port", "expected a port from 1 to 65535, found 0")
    for number, entry in enumerate(config.listeners):
        if not re.match(r"[a-z0-9_]+:.", entry.endpoint, re.IGNORECASE):
            yield Fault(f"listeners[{number}].endpoint", "expected a Twisted endpoint string such as tcp:8080")
    oauth = config.auth.github.oauth
    if (oauth.client_id is None) != (oauth.client_secret is None):
        missing = "client_id" if oauth.client_id is None else "client_secret"
        yield Fault(f"auth.github.oauth.{missing}", "is missing; client_id and client_secret go together")
