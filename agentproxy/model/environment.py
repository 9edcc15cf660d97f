"""The rules over environments: which names and values a request may set, and what wins over what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from agentproxy.errors import INVALID_REQUEST, Refusal

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME_LIMIT = 256
VALUE_LIMIT = 32_768
"""Bytes of one value. The kernel takes 128 KiB for one variable."""
TOTAL_LIMIT = 524_288
"""Bytes of all names and values of one request. The kernel takes 2 MiB for arguments and environment together."""

RESERVED = frozenset(
    [
        "PATH",
        "HOME",
        "SHELL",
        "USER",
        "LOGNAME",
        "SUDO_USER",
        "PWD",
        "OLDPWD",
        "TMPDIR",
        "ENV",
        "BASH_ENV",
        "BASHOPTS",
        "SHELLOPTS",
        "IFS",
        "PS4",
        "PROMPT_COMMAND",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
    ]
)
RESERVED_PREFIXES = ("AGENTAPI_", "AGENTPROXY_", "LD_", "DYLD_")


def reserved(name: str) -> bool:
    """Return whether a variable is the server's own to set, in whatever case it is written."""
    upper = name.upper()
    return upper in RESERVED or upper.startswith(RESERVED_PREFIXES)


def check(environment: Mapping[str, str], path: str = "$.environment") -> None:
    """Check the environment of a request.

    Values are passed on as they are: no shell reads them, so ``$`` and ``&`` are fine.

    :param path: where it stood in the request.
    :raises Refusal: INVALID_REQUEST, naming ``path.NAME``; never the value.
    """
    total = 0
    for name, value in environment.items():
        reason = _name_reason(name) or _value_reason(value)
        if reason:
            raise Refusal(INVALID_REQUEST, f"{path}.{_shown(name)}: {reason}")
        total += len(name) + len(value.encode())
    if total > TOTAL_LIMIT:
        raise Refusal(INVALID_REQUEST, f"{path}: longer than {TOTAL_LIMIT} bytes in all")


def check_value(value: str, path: str) -> None:
    """Check a value that becomes a variable of a session without being one in the request.

    :param path: where it stood in the request.
    :raises Refusal: INVALID_REQUEST, naming the path; never the value.
    """
    reason = _value_reason(value)
    if reason:
        raise Refusal(INVALID_REQUEST, f"{path}: {reason}")


def _shown(name: str) -> str:
    return name[:80].encode("ascii", "backslashreplace").decode()


def _name_reason(name: str) -> str | None:
    if not NAME.fullmatch(name):
        return "not a legal variable name (letters, digits and _, no digit first)"
    if len(name) > NAME_LIMIT:
        return f"name longer than {NAME_LIMIT} characters"
    return "this variable belongs to the server and cannot be set" if reserved(name) else None


def _value_reason(value: str) -> str | None:
    if "\0" in value:
        return "value contains NUL"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "value is not valid Unicode"
    return f"value longer than {VALUE_LIMIT} bytes" if size > VALUE_LIMIT else None


def clean(server: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """Return what of the server's environment a session may see.

    :param allowed: names, with ``*`` as in ``LC_*``. What begins with AGENTAPI_ or AGENTPROXY_ never passes.
    """
    names = frozenset(allowed)
    patterns = [name for name in names if set(name) & set("*?[")]
    return {
        name: value
        for name, value in server.items()
        if not name.startswith(("AGENTAPI_", "AGENTPROXY_"))
        and (name in names or any(fnmatchcase(name, each) for each in patterns))
    }


@dataclass(frozen=True, slots=True)
class Layers:
    """Where a session's environment comes from, lowest first; the order of the fields is the precedence.

    :param server: what :func:`clean` left of the server's environment.
    :param agent: the defaults of the catalogue.
    :param github: ``GITHUB_TOKEN`` and its like that the server found for the session.
    :param role_default: the ``default.env`` of roles.
    :param role: the file of the caller's role.
    :param team: the file of the caller's team.
    :param env_file: the file that the request named.
    :param request: what the request gave itself, after :func:`check`.
    :param fixed: what nobody overrides: HOME, TMPDIR, the session's marker.
    """

    server: Mapping[str, str] = field(default_factory=dict)
    agent: Mapping[str, str] = field(default_factory=dict)
    github: Mapping[str, str] = field(default_factory=dict)
    role_default: Mapping[str, str] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)
    team: Mapping[str, str] = field(default_factory=dict)
    env_file: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)


def merge(layers: Layers) -> dict[str, str]:
    """Return the environment of a session: each variable from the highest layer that has it."""
    return {
        **layers.server,
        **layers.agent,
        **layers.github,
        **layers.role_default,
        **layers.role,
        **layers.team,
        **layers.env_file,
        **layers.request,
        **layers.fixed,
    }
