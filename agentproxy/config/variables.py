"""``${VAR}`` in texts, and the variables of the environment that override options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentproxy.config.faults import Fault, nearest
from agentproxy.config.fields import leaves_of
from agentproxy.config.options import Config

REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})")
PEERS = ("start_port", "auth_config_file", "auth.", "role_env_files.")
OTHER_NAMES = {
    "ALLOWED_ORIGINS": "allowed_origins",
    "OAUTH_ALLOWED_REDIRECT_URIS": "auth.github.oauth.redirect_uris",
    "USERHOME_BASEDIR": "sessions.homes_dir",
    "VAPID_PUBLIC_KEY": "push.vapid_public_key",
    "VAPID_PRIVATE_KEY": "push.vapid_private_key",
    "VAPID_CONTACT_EMAIL": "push.vapid_contact_email",
}
NOT_OPTIONS = {"AGENTPROXY_PYTHON", "AGENTPROXY_VENV", "AGENTPROXY_URL", "AGENTPROXY_KEY"}
"""Variables of the development scripts and of the client, which the daemon does not read."""
OF_SESSIONS = "AGENTPROXY_SESSION_"
"""What sessions find in their environment; a daemon that is started within a session ignores it."""


class Text(str):
    """A text that stands for a value of any type: it came from a variable."""

    __slots__ = ()


class Given(Text):
    """A text from outside the file: the environment or the command line."""

    __slots__ = ()


def expand(value: Any, environ: Mapping[str, str], path: str, faults: list[Fault]) -> Any:
    """Return a tree with ``${VAR}``, ``${VAR:-default}`` and ``$$`` of all its texts replaced.

    :param faults: gets a fault for each variable that is not set.
    """
    if isinstance(value, dict):
        return {
            key: expand(inner, environ, f"{path}.{key}" if path else str(key), faults) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [expand(inner, environ, f"{path}[{number}]", faults) for number, inner in enumerate(value)]
    return _expanded(value, environ, path, faults) if isinstance(value, str) else value


def _expanded(text: str, environ: Mapping[str, str], path: str, faults: list[Fault]) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name, default = match["name"], match["default"]
        found = environ.get(name, "")
        if found or (name in environ and default is None):
            return found
        if default is None:
            faults.append(Fault(path, f"the environment variable {name} is not set; set it, or write ${{{name}:-...}}"))
        return default or ""

    result = REFERENCE.sub(replacement, text)
    return Text(result) if "${" in text and result != text else result


def normal(name: str) -> str:
    """Return the form under which a variable's name is looked up: one underscore between words."""
    return re.sub(r"_+", "_", name.upper())


def names() -> dict[str, str]:
    """Return the option of each variable name, without its prefix."""
    return {normal(path.replace(".", "_")): path for path in leaves_of(Config)}


def overrides_of(
    environ: Mapping[str, str], faults: list[Fault], warnings: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (path, variable, text) of each option that the environment sets, the strongest last.

    ``AGENTPROXY_*`` names every option, ``AGENTAPI_*`` those that agentapi-proxy reads. An empty one counts as not set.
    """
    known = names()
    set_names = sorted(name for name, value in environ.items() if value)
    for name in set_names:
        if name in OTHER_NAMES:
            yield OTHER_NAMES[name], name, environ[name]
    for name in set_names:
        if name.startswith("AGENTAPI_"):
            path = known.get(normal(name.removeprefix("AGENTAPI_")))
            if path and path.startswith(PEERS):
                yield path, name, environ[name]
            else:
                warnings.append(f"The environment variable {name} has no effect on agentproxy.")
    for name in set_names:
        if not name.startswith("AGENTPROXY_") or name in NOT_OPTIONS or name.startswith(OF_SESSIONS):
            continue
        key = normal(name.removeprefix("AGENTPROXY_"))
        if key in known:
            yield known[key], name, environ[name]
        else:
            guess = nearest(key, known)
            faults.append(Fault(name, "is not an option", f"AGENTPROXY_{guess}" if guess else None))
