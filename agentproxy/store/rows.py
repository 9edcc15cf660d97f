"""Rows and the model's dataclasses: one pure function for each direction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from agentproxy.model.event import Event
from agentproxy.model.message import Message
from agentproxy.model.session import Ending, EndReason, ExitStatus, Incarnation, Phase, Session
from agentproxy.store.sealing import Sealer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Return *time* as microseconds since 1970; it must know its zone."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the UTC time of *value* microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def to_json(value: Any) -> str:
    """Return *value* as ASCII JSON text, which every database takes, lone surrogates and NUL included.

    :raises TypeError, ValueError: it is not JSON.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def plain(text: str) -> str:
    """Return *text* without what a text column cannot hold (NUL, lone surrogates), each as U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def _optional_micros(time: datetime | None) -> int | None:
    return None if time is None else micros(time)


def _optional_moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _ending_out(ending: Ending | None) -> dict[str, Any] | None:
    if ending is None:
        return None
    shown: dict[str, Any] = {"reason": ending.reason.value, "sentence": ending.sentence, "step": ending.step}
    if ending.code is not None:
        shown["code"] = ending.code
    if ending.exit is not None:
        shown["exit"] = {"code": ending.exit.code, "signal": ending.exit.signal}
    return {**shown, "output": list(ending.output)}


def _ending_in(kept: Mapping[str, Any] | None) -> Ending | None:
    if kept is None:
        return None
    status = ExitStatus(**kept["exit"]) if "exit" in kept else None
    output = tuple(kept["output"])
    return Ending(EndReason(kept["reason"]), kept["sentence"], kept["step"], status, output, kept.get("code"))


class SealedEnvironment(Mapping[str, str]):
    """An environment that is opened when somebody looks into it: a list shows sessions whose key is lost, too.

    Looking raises :class:`StoreError` when its key is not there.
    """

    def __init__(self, sealed: str, place: str, sealer: Sealer) -> None:
        self._sealed, self._place, self._sealer = sealed, place, sealer

    def _opened(self) -> dict[str, str]:
        opened: dict[str, str] = json.loads(self._sealer.open(self._sealed, self._place))
        return opened

    def __getitem__(self, name: str) -> str:
        return self._opened()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened())

    def __len__(self) -> int:
        return len(self._opened())

    def __bool__(self) -> bool:
        return True  # an empty one is not sealed


def session_row(session: Session, sealer: Sealer, *, with_environment: bool = True) -> dict[str, Any]:
    """Return the row of *session*; its tags have rows of their own too, for the search."""
    record = {
        "description": session.description,
        "tags": dict(session.tags),
        "annotations": dict(session.annotations),
        "options": dict(session.options),
        "incarnation": session.incarnation,
        "port": session.port,
        "ending": _ending_out(session.ending),
        "ready_at": _optional_micros(session.ready_at),
        "ended_at": _optional_micros(session.ended_at),
    }
    row = {
        "id": session.id,
        "owner": session.owner,
        "agent": session.agent,
        "phase": session.phase.value,
        "scope": session.scope,
        "team_id": session.team_id,
        "created_at": micros(session.created_at),
        "updated_at": micros(session.updated_at),
        "deleted_at": _optional_micros(session.deleted_at),
        "record": to_json(record),
    }
    return {**row, "environment": _sealed_environment(session, sealer)} if with_environment else row


def _sealed_environment(session: Session, sealer: Sealer) -> str | None:
    if not session.environment:
        return None
    return sealer.seal(to_json(dict(session.environment)), f"sessions/{session.id}/environment")


def session_of(row: Row[Any], sealer: Sealer) -> Session:
    """Return the session of a row of ``sessions``."""
    record = json.loads(row.record)
    record["ending"] = _ending_in(record["ending"])
    for name in ("ready_at", "ended_at"):
        record[name] = _optional_moment(record[name])
    environment: Mapping[str, str] = {}
    if row.environment is not None:
        environment = SealedEnvironment(row.environment, f"sessions/{row.id}/environment", sealer)
    return Session(
        id=row.id,
        owner=row.owner,
        agent=row.agent,
        phase=Phase(row.phase),
        scope=row.scope,
        team_id=row.team_id,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        deleted_at=_optional_moment(row.deleted_at),
        environment=environment,
        **record,
    )


def _door_place(session_id: str, number: int) -> str:
    return f"incarnations/{session_id}.{number}/door"


_IN_RECORD = ("agent_server", "directory", "port", "marker", "boot_id", "unix_path", "cgroup", "pid", "start_ticks")


def incarnation_row(one: Incarnation, sealer: Sealer) -> dict[str, Any]:
    """Return the row of an incarnation; its door secret is sealed."""
    record: dict[str, Any] = {name: getattr(one, name) for name in _IN_RECORD}
    record |= {"argv": list(one.argv), "ending": _ending_out(one.ending)}
    return {
        "session_id": one.session_id,
        "number": one.number,
        "created_at": micros(one.created_at),
        "ended_at": _optional_micros(one.ended_at),
        "door": None if one.door is None else sealer.seal(one.door, _door_place(one.session_id, one.number)),
        "record": to_json(record),
    }


def incarnation_of(row: Row[Any], sealer: Sealer) -> Incarnation:
    """Return the incarnation of a row of ``incarnations``."""
    record = json.loads(row.record)
    record |= {"argv": tuple(record["argv"]), "ending": _ending_in(record["ending"])}
    return Incarnation(
        session_id=row.session_id,
        number=row.number,
        created_at=moment(row.created_at),
        ended_at=_optional_moment(row.ended_at),
        door=None if row.door is None else sealer.open(row.door, _door_place(row.session_id, row.number)),
        **record,
    )


def event_of(row: Row[Any]) -> Event:
    """Return the event of a row of ``events``."""
    return Event(row.number, row.session_id, row.kind, moment(row.time), json.loads(row.data))


def message_row(session_id: str, message: Message) -> dict[str, Any]:
    """Return the row of a message."""
    return {
        "session_id": session_id,
        "id": message.id,
        "role": message.role,
        "content": plain(message.content),
        "time": micros(message.time),
        "final": message.final,
    }


def message_of(row: Row[Any]) -> Message:
    """Return the message of a row of ``messages``."""
    return Message(row.id, row.role, row.content, moment(row.time), row.final)
