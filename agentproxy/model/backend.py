"""Where an agent server listens and what opens its door."""

from __future__ import annotations

from dataclasses import dataclass, field

DOOR_HEADER = "X-Agentproxy-Door"


@dataclass(frozen=True, slots=True)
class Backend:
    """The address of one incarnation's agent server.

    :param host: literal address, normally ``127.0.0.1``.
    :param port: TCP port; also what ``/search`` shows. None only with ``unix_path``.
    :param unix_path: UNIX socket, used instead of host and port when set.
    :param door: value of the header :data:`DOOR_HEADER` that the agent server demands, None when it has no door.
    """

    host: str
    port: int | None
    unix_path: str | None = None
    door: str | None = None
    key: str = field(init=False, repr=False, compare=False)
    """Differs between different ones; cheaper to look up by than the whole."""
    lines: bytes = field(init=False, repr=False, compare=False)
    """The header lines that every request to it carries: its ``Host`` and what opens its door."""

    def __post_init__(self) -> None:
        """Make what is needed for each request."""
        object.__setattr__(self, "key", f"{self.host}|{self.port}|{self.unix_path}|{self.door}")
        door = "" if self.door is None else f"{DOOR_HEADER}: {self.door}\r\n"
        object.__setattr__(self, "lines", f"Host: {self.authority}\r\n{door}".encode())

    @property
    def authority(self) -> str:
        """Return the ``Host`` that requests to it carry: agentapi accepts only local names."""
        return f"{self.host}:{self.port}" if self.port is not None else "localhost"
