"""What a reference to a repository may look like, read from one text.

=====================================  =============================================
``owner/name``                         on the GitHub host of the configuration
``https://host/owner/name(.git)``      also ``http://``, which never gets a token
``git@host:owner/name``                also ``ssh://git@host/owner/name``
``file:///srv/git/name``, ``/srv/...``  only under the configured roots, see ``runtime/clone.py``
=====================================  =============================================

Each may end in ``#branch``. Everything else is refused: transports such as ``ext::``, options, credentials, ``..``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from agentproxy.errors import INVALID_REQUEST, Refusal

LIMIT = 2048
GITHUB = "github.com"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_PATH = r"[A-Za-z0-9._~+@-]+(?:/[A-Za-z0-9._~+@-]+)*/?"
_SHORT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)/([A-Za-z0-9._-]+)")
_WEB = re.compile(rf"(https?)://({_HOST})((?::[0-9]{{1,5}})?)/({_PATH})", re.IGNORECASE)
_SSH = re.compile(rf"ssh://([A-Za-z_][A-Za-z0-9_-]*)@({_HOST})((?::[0-9]{{1,5}})?)/({_PATH})", re.IGNORECASE)
_SCP = re.compile(rf"([A-Za-z_][A-Za-z0-9_-]*)@({_HOST}):({_PATH})")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+-]{0,254}")


class Transport(Enum):
    """How a repository is fetched."""

    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository to clone.

    :param url: what ``git clone`` gets; the absolute path of a local one. Never holds a secret.
    :param host: lower case with its port; empty for a local one.
    :param full_name: path on the host, normally ``owner/name``, without ``.git``.
    """

    transport: Transport
    url: str
    host: str
    full_name: str
    branch: str | None = None


def github_host(api: str) -> str:
    """Return the host, with its port, whose repositories ``owner/name`` means.

    :param api: URL of the API: ``https://api.github.com``, or ``https://HOST/api/v3`` of GitHub Enterprise.
    """
    place = api.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()
    return GITHUB if place in ("api.github.com", "") else place


def parse(text: str, path: str = "$.tags.repository", host: str = GITHUB) -> Repository:
    """Read a reference.

    :param path: where it stood in the request.
    :param host: the host that ``owner/name`` means, one of GitHub Enterprise for instance.
    :raises Refusal: INVALID_REQUEST with the reason.
    """
    reason = _suspicious(text)
    if reason:
        raise Refusal(INVALID_REQUEST, f"{path}: {reason}")
    place, mark, branch = text.partition("#")
    if mark and not _legal_branch(branch):
        raise Refusal(INVALID_REQUEST, f"{path}: what follows # is not the name of a branch")
    found = _short(place, host) or _web(place) or _ssh(place) or _local(place)
    if found is None:
        raise Refusal(INVALID_REQUEST, f"{path}: not owner/name, an https, ssh or file URL, or an absolute path")
    transport, url, host, name = found
    return Repository(transport, url, host, name, branch if mark else None)


_Found = tuple[Transport, str, str, str]


def _suspicious(text: str) -> str | None:
    if not text or len(text) > LIMIT:
        return f"must have 1 to {LIMIT} characters"
    if not text.isprintable() or " " in text or not text.isascii() or "\\" in text:
        return "contains blanks, backslashes, control characters or characters outside ASCII"
    if text.startswith("-"):
        return "must not begin with -"
    if "::" in text:
        return "transport helpers (NAME::) are not allowed"
    if ".." in text.partition("#")[0].split("/") or "/.." in text or "%" in text:
        return "must not contain .. or %"
    web = re.match(r"https?://[^/]*@", text, re.IGNORECASE)
    return "must not contain credentials; give the token as github_token" if web else None


def _legal_branch(name: str) -> bool:
    parts = name.split("/")
    return (
        _BRANCH.fullmatch(name) is not None
        and ".." not in name
        and "@{" not in name
        and not name.endswith(".")
        and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
    )


def _without_git(name: str) -> str:
    return name.rstrip("/").removesuffix(".git")


def _short(text: str, host: str) -> _Found | None:
    match = _SHORT.fullmatch(text)
    if match is None or match[2].strip(".") == "" or not _without_git(match[2]):
        return None
    name = _without_git(text)
    return Transport.HTTPS, f"https://{host}/{name}.git", host.lower(), name


def _web(text: str) -> _Found | None:
    match = _WEB.fullmatch(text)
    if match is None:
        return None
    scheme, host = match[1].lower(), match[2].lower() + match[3]
    return Transport(scheme), f"{scheme}://{host}/{match[4]}", host, _without_git(match[4])


def _ssh(text: str) -> _Found | None:
    match = _SSH.fullmatch(text)
    if match is not None:
        host = match[2].lower() + match[3]
        return Transport.SSH, f"ssh://{match[1]}@{host}/{match[4]}", host, _without_git(match[4])
    match = _SCP.fullmatch(text)
    if match is not None:
        return Transport.SSH, f"{match[1]}@{match[2].lower()}:{match[3]}", match[2].lower(), _without_git(match[3])
    return None


def _local(text: str) -> _Found | None:
    place = text.removeprefix("file://")
    if not place.startswith("/") or place.startswith("//") or not place.strip("/"):
        return None
    return Transport.LOCAL, place, "", _without_git(place).rpartition("/")[2]
