"""By which names a request may call this server: the defence against DNS rebinding.

A page of an attacker can make its own name resolve to our address; the browser then believes that we are that page. So, without
authentication, only names that nobody can point at us are taken: addresses, ``localhost``, and names without a dot. With
authentication every name is taken unless ``allowed_hosts`` lists some.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::[0-9]{1,5})?")


class Hosts:
    """The rule, with what it has decided before.

    :param allowed: names from the configuration; ``*.example.org`` is every name below, ``*`` every name.
    :param strict: whether an empty list allows only what cannot be pointed at us.
    """

    def __init__(self, allowed: Iterable[str], strict: bool) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._strict = strict
        self._known: dict[bytes, bool] = {}

    def takes(self, header: bytes) -> bool:
        """Return whether a request with this ``Host`` is answered; one without any (HTTP/1.0) is."""
        known = self._known.get(header)
        if known is None:
            if len(self._known) > 1000:
                self._known.clear()
            known = self._known[header] = self._decide(header)
        return known

    def _decide(self, header: bytes) -> bool:
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match[1].decode("latin-1").lower().rstrip(".")
        if not name or not (self._strict or self._allowed):
            return True
        if is_address(name) or "." not in name or name.endswith(".localhost"):
            return True
        return "*" in self._allowed or name in self._allowed or self._below(name)

    def _below(self, name: str) -> bool:
        return any(one.startswith("*.") and name.endswith(one[1:]) for one in self._allowed)


def is_address(name: str) -> bool:
    """Return whether a host name is an IP address."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
