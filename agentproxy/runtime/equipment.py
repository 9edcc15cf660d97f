"""What one incarnation's agent server is launched with: its command line, its door, its records, and where it answers."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from agentproxy.model.backend import Backend
from agentproxy.model.session import Incarnation
from agentproxy.runtime import orphans, sockets
from agentproxy.runtime.agent_servers import Serving
from agentproxy.runtime.launching import Launch
from agentproxy.runtime.starting import Ground, Plan, Prepared
from agentproxy.runtime.steps import StepFailed

HOST = "127.0.0.1"


class Equipment:
    """The files and arguments of one incarnation."""

    def __init__(self, ground: Ground, plan: Plan) -> None:
        self._ground = ground
        self._plan = plan

    @property
    def end_record(self) -> Path:
        """Return the file in which the agent server writes how it ended."""
        return self._plan.records / "end.json"

    @property
    def _door_file(self) -> Path:
        return self._plan.records / "door"

    @property
    def _door(self) -> str | None:
        return self._plan.door if self._plan.agent_server.has_door else None

    def backend(self, port: int) -> Backend:
        """Return where the agent server answers.

        :param port: 0 when it listens on a UNIX socket.
        """
        if self._plan.socket is not None:
            return Backend(HOST, None, str(self._plan.socket), self._door)
        return Backend(HOST, port, door=self._door)

    def lay_out(self) -> None:
        """Write the door file, and remove what an earlier life has left at the places of this one.

        :raises StepFailed: ``exec``, the records cannot be written.
        """
        try:
            self._plan.records.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.end_record.unlink(missing_ok=True)
            if self._plan.socket is not None:
                sockets.make_room(self._plan.socket)
            if self._door is not None:
                self._door_file.unlink(missing_ok=True)
                with open(os.open(self._door_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(self._door)
        except OSError as error:
            sentence = f"the session's records cannot be written: {error.strerror} ({error.filename})"
            raise StepFailed("exec", sentence, unavailable=True) from None

    def argv(self, prepared: Prepared, port: int) -> tuple[str, ...]:
        """Return the whole command line, script and isolation included."""
        plan = self._plan
        files = (self._door_file, self.end_record)
        serving = Serving(port, prepared.agent_type, *files, plan.width, plan.height, plan.socket, prepared.acp)
        served = prepared.wrap((*plan.agent_server.command(serving), *prepared.command))
        sockets_own = (plan.socket.parent,) if plan.socket is not None else ()
        own = (*self.own(prepared), *sockets_own)
        return self._ground.isolation.wrap(served, prepared.directory, own, plan.owner)

    def own(self, prepared: Prepared) -> tuple[Path, ...]:
        """Return the directories of the session that its processes may use."""
        return (prepared.directory, *self._plan.own, self._plan.records)

    def launch(self, argv: tuple[str, ...], prepared: Prepared, cgroup: Path | None) -> Launch:
        """Return what is launched; the marker is in its environment."""
        plan = self._plan
        environment = {**prepared.environment, orphans.MARKER_VARIABLE: plan.marker}
        title = f"agentproxy session {plan.session_id}"
        return Launch(argv, environment, prepared.directory, plan.log.path, cgroup, plan.limits, title)

    def incarnation(self, argv: tuple[str, ...], prepared: Prepared, port: int, cgroup: Path | None) -> Incarnation:
        """Return what is needed to find the process again."""
        plan = self._plan
        return Incarnation(
            session_id=plan.session_id,
            number=plan.number,
            agent_server=plan.agent_server.name,
            argv=argv,
            directory=str(prepared.directory),
            port=port or None,
            unix_path=str(plan.socket) if plan.socket is not None else None,
            marker=plan.marker,
            boot_id=self._ground.boot_id,
            created_at=datetime.now(UTC),
            door=self._door,
            cgroup=str(cgroup) if cgroup is not None else None,
        )

    def clear(self) -> None:
        """Remove the door file and the socket; the end record stays."""
        with contextlib.suppress(OSError):
            self._door_file.unlink(missing_ok=True)
        if self._plan.socket is not None:
            sockets.remove(self._plan.socket)
