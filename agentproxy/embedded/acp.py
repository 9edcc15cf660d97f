"""An agent that speaks the Agent Client Protocol behind the same routes: turns, their updates in order, permissions, cancel.

A turn is one ``session/prompt``. Its updates grow the agent's message as they come on the wire, which orders them before the
turn's result; what comes after the result still belongs to the same message. Asked for leave, the agent waits until somebody
answers with one of the options that it offered; nothing is answered on its own. An agent that loads an earlier session repeats
what was said in it, which becomes the messages of this one.

=================  =============================================================
update             in the agent's message
=================  =============================================================
message chunk      its text (of the user's message while a session is loaded)
tool call          ``[Tool: KIND] TITLE`` on a line of its own; announced again or
                   with another title in an update, that line changes
tool call update   ``[Tool Status: STATUS]`` on a line of its own
thought, plan      nothing
=================  =============================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from agentproxy.embedded.acp_talk import (
    Permission,
    Replay,
    Reply,
    Transcript,
    cut_short,
    opened_id,
    permission_of,
)
from agentproxy.embedded.acp_wire import BAD_PARAMS, NO_METHOD, CallError, Wire, WireError
from agentproxy.embedded.conversation import Message, now
from agentproxy.embedded.pipes import Pipes
from agentproxy.embedded.talk import EXITED, MESSAGE, SCREEN, SendError, message_event
from agentproxy.embedded.telling import TOLD_A_SECOND, Teller

PROTOCOL = 1
HANDSHAKE = 60.0
"""Seconds that an agent may take to say that it is there."""
TOLD_EVERY = 0.05
"""The shortest time between two revisions of a growing message."""
FAREWELL = 2.0
"""Seconds that an agent may live on without its output."""
TAKEN = 10.0
"""Seconds after which a prompt counts as taken when the agent has given no sign of it."""
BUSY = "failed to send message: message can only be sent when the agent is waiting for user input"
CANCEL_KEYS = ("\x1b", "\x03")
ASKED, PERMITTED = "permission_request", "permission_answered"


@dataclass(frozen=True, slots=True)
class Page:
    """What stands for a screen: the agent's last message."""

    text: str
    width: int
    height: int
    cursor: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> list[str]:
        """Return its lines."""
        return self.text.split("\n")


class AcpSession(Teller):
    """One agent behind the protocol: a :class:`agentproxy.embedded.talk.Talk`.

    ``permissions``: what the agent asks leave for now, by id; ``acp_id``: the agent's own id of the session.

    :param failed: called with a sentence when the agent does not speak the protocol; it shall be ended.
    """

    transport = "acp"
    own_events = (ASKED, PERMITTED)
    prompt: bool = False

    def __init__(self, clock: Any, agent_type: str, width: int, height: int, failed: Callable[[str], None]) -> None:
        super().__init__(agent_type)
        self.conversation = Transcript()
        self.on_ready: Callable[[], None] = lambda: None
        self.on_stable: Callable[[], None] = lambda: None
        self.terminal: Pipes | None = None
        self.acp_id: str | None = None
        self.permissions: dict[str, Permission] = {}
        self._clock, self._size, self._failed = clock, (width, height), failed
        self._wire = Wire(self._write, self._notified, self._asked)
        self._asking: dict[str, Any] = {}
        self._in_turn = False
        self._replay: Replay | None = None
        self._reply = Reply()
        self._taken: Deferred[None] | None = None
        self._telling: Any = None
        self._handshake: Any = None
        self._closing: Any = None

    @property
    def screen(self) -> Page:
        """What the agent shows: its last message."""
        said = self.conversation.messages
        return Page(said[-1].content if said and said[-1].role == "agent" else "", *self._size)

    # the handshake

    def begin(self, directory: str, earlier: str | None) -> None:
        """Greet the agent and open a session in *directory*, the *earlier* one where the agent can load it."""
        self._handshake = self._clock.callLater(HANDSHAKE, self._failed, f"the agent said nothing for {HANDSHAKE:g} s")
        done = Deferred.fromCoroutine(self._greet(directory, earlier))
        done.addErrback(self._not_greeted)

    def _not_greeted(self, failure: Any) -> None:
        if self.exit is not None:
            return
        refused = failure.check(CallError) is not None
        what = "the agent refused to open a session" if refused else "the agent does not speak ACP"
        self._failed(f"{what}: {failure.getErrorMessage()}")

    async def _greet(self, directory: str, earlier: str | None) -> None:
        try:
            capabilities = {"fs": {"readTextFile": False, "writeTextFile": False}}
            hello = await self._wire.request(
                "initialize", {"protocolVersion": PROTOCOL, "clientCapabilities": capabilities}
            )
            can_load = isinstance(hello, dict) and (hello.get("agentCapabilities") or {}).get("loadSession")
            place = {"cwd": directory, "mcpServers": []}
            if earlier is not None and can_load and await self._load(earlier, place):
                self.acp_id = earlier
            else:
                self.acp_id = opened_id(await self._wire.request("session/new", place))
        finally:
            if self._handshake.active():
                self._handshake.cancel()
        self.prompt = True
        self._set_status("stable")
        self.on_ready()

    async def _load(self, earlier: str, place: dict[str, Any]) -> bool:
        """Open an earlier session; what the agent repeats of it becomes the messages."""
        self.conversation = Transcript()
        self._replay = Replay(self.conversation)
        try:
            await self._wire.request("session/load", {"sessionId": earlier, **place})
        except CallError as refused:
            self.conversation = Transcript()
            self.warn(f"The earlier session could not be loaded, a new one begins: {refused}")
            return False
        finally:
            self._replay = None
        return True

    # what the agent says

    def drawn(self, data: bytes) -> None:
        """Take bytes that the agent wrote."""
        try:
            self._wire.feed(data)
        except WireError as error:
            self._failed(f"the agent does not speak ACP: {error}")

    def closed(self) -> None:
        """Expect the end of an agent that says nothing more; one that lives on without its output cannot be talked to."""
        if self.exit is None and self._closing is None:
            self._closing = self._clock.callLater(FAREWELL, self._failed, "the agent closed its output and lives on")

    def _notified(self, method: str, params: dict[str, Any]) -> None:
        update = params.get("update")
        if method != "session/update" or not isinstance(update, dict):
            return
        if self._replay is not None:
            if (message := self._replay.take(update)) is not None:
                self._tell_message(message)
            return
        if self._reply.take(update):
            self._sign()
            if self._telling is None:
                wait = max(TOLD_EVERY, self._reply.length / TOLD_A_SECOND)
                self._telling = self._clock.callLater(wait, self._tell_reply)

    def _tell_reply(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        self._telling = None
        said = self.conversation.messages
        text = self._reply.text
        if not text:
            return
        if not said or said[-1].role != "agent":
            self._tell_message(self.conversation.add("agent", text))
        elif said[-1].content != text:
            self._tell_message(self.conversation.revise(text))
        self.tell(SCREEN, {"screen": self.screen.text})

    def _asked(self, number: Any, method: str, params: dict[str, Any]) -> None:
        if method != "session/request_permission":
            self._wire.refuse(number, NO_METHOD, f"method not found: {method}")
            return
        asked = permission_of(str(number), params)
        if asked is None:
            self._wire.refuse(number, BAD_PARAMS, "expected toolCall and options, each with optionId, name and kind")
            return
        self.permissions[asked.id] = asked
        self._asking[asked.id] = number
        self._sign()
        self._tell_reply()
        self.tell(ASKED, asked.shown())

    def permit(self, number: str, option: str | None) -> None:
        """Answer what the agent asked leave for with one of its options, or None to call it off.

        :raises KeyError: nothing of that id is asked now.
        :raises ValueError: the agent did not offer that option.
        """
        asked = self.permissions[number]
        if option is not None and option not in [one[0] for one in asked.options]:
            raise ValueError(f"expected one of {', '.join(one[0] for one in asked.options)}, got {option!r}")
        del self.permissions[number]
        outcome = {"outcome": "cancelled"} if option is None else {"outcome": "selected", "optionId": option}
        self._wire.answer(self._asking.pop(number), {"outcome": outcome})
        self.tell(PERMITTED, {"id": number, "option": option})

    # what the user says

    def _write(self, data: bytes) -> None:
        if self.terminal is None or not self.terminal.write(data):
            raise WireError("the agent does not read what it is sent")

    def write(self, data: bytes) -> None:
        """Escape and Ctrl-C cancel the turn; other raw input means nothing to an agent without a terminal.

        :raises SendError: it is other input.
        """
        if data.decode("utf-8", "replace") not in CANCEL_KEYS:
            raise SendError(
                "failed to send message: this agent has no terminal: raw input can only be Escape or Ctrl-C",
                "no_terminal",
            )
        self.cancel()

    def interrupt(self) -> None:
        """Cancel the turn, as the protocol has it.

        :raises SendError: the agent is gone.
        """
        if self.exit is not None:
            raise SendError("failed to send message: the agent exited", "agent_gone")
        self.cancel()

    def cancel(self) -> None:
        """Cancel the turn under way, and whatever is asked in it."""
        if not self._in_turn:
            return
        for number in list(self.permissions):
            self.permit(number, None)
        self._wire.notify("session/cancel", {"sessionId": self.acp_id})

    async def say(self, content: str) -> None:
        """Begin a turn with *content*; returns when the agent gives a first sign of it.

        :raises SendError: the agent is busy, the text is empty, or the agent answered with an error at once.
        """
        text = content.strip()
        if self.exit is not None:
            raise SendError("failed to send message: the agent exited", "agent_gone")
        if self.status != "stable" or self._in_turn:
            raise SendError(BUSY, "busy")
        if not text:
            raise SendError("failed to send message: message must not be empty", "empty")
        await self.deliver(text)

    async def deliver(self, text: str) -> None:
        """Begin a turn with the trimmed *text*.

        :raises SendError: the agent answered with an error before it gave another sign.
        """
        self._tell_reply()
        self._in_turn, self._reply, self._taken = True, Reply(), Deferred()
        self._set_status("running")
        self._tell_message(self.conversation.add("user", text))
        block = {"type": "text", "text": text}
        try:
            turn = self._wire.request("session/prompt", {"sessionId": self.acp_id, "prompt": [block]})
        except WireError as error:
            self._turn_over()
            raise SendError(f"failed to send message: {error}", "not_reading") from None
        taken = self._taken
        turn.addBoth(self._answered)
        late = self._clock.callLater(TAKEN, self._sign)
        try:
            await taken
        except CancelledError:
            return
        finally:
            if late.active():
                late.cancel()

    def _sign(self) -> None:
        """The agent has given a sign: whoever said something may go on."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)

    def _answered(self, result: Any) -> None:
        """Take the end of a turn; an error is told to who waits, else to all."""
        failure = result.value if isinstance(result, Failure) else None
        self._tell_reply()
        taken, self._taken = self._taken, None
        if failure is not None and taken is None:
            self.warn(f"The turn ended with an error: {failure}")
        elif failure is None and (why := cut_short(result)):
            self.warn(why)
        self._turn_over()
        if taken is None:
            return
        if failure is None:
            taken.callback(None)
        else:
            gone = "agent_gone" if self.exit is not None else "failed"
            taken.errback(SendError(f"failed to send message: {failure}", gone, "entered"))

    def _turn_over(self) -> None:
        self._in_turn = False
        for number in list(self.permissions):
            del self.permissions[number]
            del self._asking[number]
        if self.exit is None:
            self._set_status("stable")
            self.on_stable()

    # what others are told

    def _tell_message(self, message: Message) -> None:
        self.tell(MESSAGE, message_event(message))

    def ended(self, code: int | None, number: int | None) -> None:
        """Take the end of the agent; everybody is told."""
        self.exit = {"code": code, "signal": number}
        self._wire.lost("the agent exited")
        self._tell_reply()
        self.tell(EXITED, {**self.exit, "time": now()})
        self.stop()

    def stop(self) -> None:
        """End all timers; twice does no harm."""
        for call in (self._telling, self._handshake, self._closing):
            if call is not None and call.active():
                call.cancel()
        self._telling = None
