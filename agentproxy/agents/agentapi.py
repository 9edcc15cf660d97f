"""The driver of coder/agentapi, and of everything that speaks its contract.

Routes used: ``GET /status``, ``GET /messages``, ``POST /message``, ``GET /events`` and ``GET /internal/screen``. A message
that was not taken is answered with 500 and a sentence; which sentence means what was measured on version 0.12.1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.logger import Logger

from agentproxy.agents.connection import Answer, Connection, NotAnswered, NotConnected
from agentproxy.agents.driver import (
    AgentEvent,
    AskedEvent,
    Busy,
    ErrorEvent,
    EventSink,
    ExitEvent,
    KeysEvent,
    MessageEvent,
    Outcome,
    PermittedEvent,
    Refused,
    Sent,
    StatusEvent,
    Subscription,
    TypedNotEntered,
    Unknown,
    Unreachable,
)
from agentproxy.errors import AGENT_TIMEOUT, AGENT_UNREACHABLE, Refusal
from agentproxy.model.approval import AcpRequest
from agentproxy.model.backend import Backend
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus, ExitStatus
from agentproxy.model.sse import EventParser, EventTooLarge, ServerSentEvent

log = Logger()

READ_DEADLINE = 5.0
PROBE_DEADLINE = 1.0


def without_padding(text: str) -> str:
    """Return *text* without the spaces that pad each row to the terminal's width."""
    return "\n".join(row.rstrip(" ") for row in text.split("\n"))


def _message(given: Mapping[str, Any], content: str) -> Message:
    return Message(
        int(given["id"]),
        str(given["role"]),
        without_padding(str(given[content])),
        datetime.fromisoformat(given["time"]),
    )


def _request(given: Mapping[str, Any]) -> AcpRequest:
    options = tuple((str(one["id"]), str(one["name"]), str(one["kind"])) for one in given["options"])
    return AcpRequest(
        str(given["id"]), str(given["title"]), str(given["kind"]), str(given.get("command") or ""), options
    )


def understand(event: ServerSentEvent) -> AgentEvent | None:
    """Return what one event of ``/events`` says, None for an event of an unknown name.

    :raises ValueError, KeyError, TypeError: it is not what the contract says.
    """
    data = json.loads(event.data)
    if event.name == "status_change":
        return StatusEvent(AgentStatus(data["status"]))
    if event.name == "message_update":
        return MessageEvent(_message(data, "message"))
    if event.name == "agent_error":
        return ErrorEvent(str(data["message"]), str(data["level"]), datetime.fromisoformat(data["time"]))
    if event.name == "agent_exited":
        return ExitEvent(f"the agent has ended: {ExitStatus(data.get('code'), data.get('signal')).sentence()}")
    if event.name == "permission_request":
        return AskedEvent(_request(data))
    if event.name == "permission_answered":
        return PermittedEvent(str(data["id"]))
    if event.name == "keys_typed":
        return KeysEvent()
    return None


def _sentences(body: bytes) -> str:
    """Return what an error answer says: its detail and the messages of its errors."""
    try:
        problem = json.loads(body)
        errors = [str(error.get("message", "")) for error in problem.get("errors") or ()]
        return "; ".join(filter(None, [str(problem.get("detail", "")), *errors]))
    except (ValueError, AttributeError):
        return body[:200].decode("utf-8", "replace").strip()


def outcome_of(answer: Answer) -> Outcome:
    """Return what the answer to ``POST /message`` allows to do next."""
    if answer.status == 200:
        return Sent()
    why = _sentences(answer.body)
    if (became := _became(answer.body)) is not None:
        return _told(became, why)
    if "waiting for user input" in why:
        return Busy()
    if "screen to stabilize" in why:
        return TypedNotEntered()
    if "must not be empty" in why or "must be trimmed" in why or 400 <= answer.status < 500:
        return Refused(why or f"status {answer.status}")
    return Unknown(why or f"status {answer.status}")


def _became(body: bytes) -> tuple[str, str] | None:
    """Return code and delivery of a refused message, which the embedded agent server tells; None from agentapi."""
    try:
        problem = json.loads(body)
        return str(problem["code"]), str(problem["delivery"])
    except (ValueError, KeyError, TypeError):
        return None


def _told(became: tuple[str, str], why: str) -> Outcome:
    """Return what may be done next by what became of the text."""
    match became:
        case "busy", _:
            return Busy()
        case (("empty" | "too_long"), _):
            return Refused(why)
        case _, "taken_back":
            return Refused(f"{why}; the text was taken back")
        case _, "typed":
            return TypedNotEntered()
        case _:
            return Unknown(why)


class _Reading:
    """One stream on its way to a sink."""

    def __init__(self, connection: Connection, path: str, sink: EventSink) -> None:
        self._sink = sink
        self._parser = EventParser()
        self._stream = connection.stream(path, sink.opened, self._feed, sink.closed)

    def close(self) -> None:
        """End it; the sink hears nothing more."""
        self._stream.close()

    def _feed(self, data: bytes) -> None:
        try:
            events = [understand(raw) for raw in self._parser.feed(data)]
        except EventTooLarge:
            self._give_up("an event is larger than the limit")
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._give_up(f"an event is not what the contract says: {error!r}")
            return
        for event in events:
            if event is not None and not self._stream.is_closed:
                self._tell(event)

    def _tell(self, event: AgentEvent) -> None:
        try:
            self._sink.event(event)
        except Exception:
            log.failure("A listener failed at the event {kind}; the stream goes on", kind=type(event).__name__)

    def _give_up(self, why: str) -> None:
        if not self._stream.is_closed:
            self._stream.close()
            self._sink.closed(why)


class AgentapiDriver:
    """Speaks to one coder/agentapi. See :class:`agentproxy.agents.driver.AgentServerDriver`.

    :param reactor: connects and keeps the deadlines.
    """

    def __init__(self, reactor: Any, backend: Backend) -> None:
        self._reactor = reactor
        self._connection = Connection(reactor, backend)

    async def status(self) -> AgentStatus:
        """Return what the agent server says of its agent; blocks while a message is typed."""
        return AgentStatus(await self._read("/status", "status"))

    async def messages(self) -> tuple[Message, ...]:
        """Return the whole transcript; blocks while a message is typed."""
        return tuple(_message(one, "content") for one in await self._read("/messages", "messages"))

    async def send_user(self, text: str, deadline: float) -> Outcome:
        """Type *text* and enter it. Past the deadline nothing is known, and the agent server may be locked for ever."""
        return await self._type(text, "user", deadline)

    async def send_raw(self, keys: str, deadline: float = READ_DEADLINE) -> Outcome:
        """Write *keys* to the terminal; waits behind a message that is being typed."""
        return await self._type(keys, "raw", deadline)

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        """Write the interrupt keys one after the other; stops at the first that is not taken."""
        outcome: Outcome = Refused("the agent has no interrupt keys")
        for key in keys:
            outcome = await self.send_raw(key)
            if not isinstance(outcome, Sent):
                break
        return outcome

    async def screen(self) -> str:
        """Return the screen: the first event of ``/internal/screen``, which is sent at once."""
        found: Deferred[str] = Deferred()
        parser = EventParser()

        def feed(data: bytes) -> None:
            if found.called:
                return
            try:
                shown = [str(json.loads(event.data)["screen"]) for event in parser.feed(data) if event.name == "screen"]
            except (EventTooLarge, ValueError, KeyError, TypeError):
                found.errback(Refusal(AGENT_UNREACHABLE, "the screen is not what the contract says"))
                return
            if shown:
                found.callback(shown[0])

        def ended(why: str) -> None:
            if not found.called:
                found.errback(Refusal(AGENT_UNREACHABLE, why))

        stream = self._connection.stream("/internal/screen", lambda: None, feed, ended)
        try:
            return without_padding(await found.addTimeout(READ_DEADLINE, self._reactor))
        except DeadlineError as error:
            raise Refusal(AGENT_TIMEOUT, "the screen was not shown in time") from error
        finally:
            stream.close()

    def events(self, sink: EventSink) -> Subscription:
        """Open ``/events``: the replay of all messages, one status, the last errors, then what happens."""
        return _Reading(self._connection, "/events", sink)

    async def permit(self, request: str, option: str) -> Outcome:
        """Refuse: agentapi answers every request of the protocol by itself."""
        return Refused(f"this agent server answers by itself, {request} cannot be answered with {option}")

    async def answers(self) -> bool:
        """Return whether ``GET /status`` is answered as the contract says."""
        try:
            answer = await self._connection.get("/status", PROBE_DEADLINE)
            return answer.status == 200 and "status" in json.loads(answer.body)
        except (NotConnected, NotAnswered, ValueError, TypeError):
            return False

    async def close(self) -> None:
        """End every connection and stream."""
        await self._connection.close()

    async def _read(self, path: str, field: str) -> Any:
        answer = await self._ask(lambda: self._connection.get(path, READ_DEADLINE))
        if answer.status != 200:
            raise Refusal(AGENT_UNREACHABLE, f"GET {path} was answered with {answer.status}: {_sentences(answer.body)}")
        try:
            return json.loads(answer.body)[field]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(AGENT_UNREACHABLE, f"GET {path} was not answered as the contract says") from error

    async def _ask(self, ask: Callable[[], Any]) -> Answer:
        try:
            answer: Answer = await ask()
            return answer
        except NotConnected as error:
            raise Refusal(AGENT_UNREACHABLE, str(error)) from error
        except NotAnswered as error:
            raise Refusal(AGENT_TIMEOUT if error.late else AGENT_UNREACHABLE, str(error)) from error

    async def _type(self, text: str, kind: str, deadline: float) -> Outcome:
        return await self._post("/message", json.dumps({"content": text, "type": kind}).encode(), deadline)

    async def _post(self, path: str, body: bytes, deadline: float) -> Outcome:
        try:
            return outcome_of(await self._connection.post(path, body, deadline))
        except NotConnected as error:
            return Unreachable(str(error))
        except NotAnswered as error:
            return Unknown(str(error))
