"""A blocking HTTP and Server-Sent Events client for tests that judge an agent server by its bytes.

It adds nothing to a request that a test did not ask for, and hides nothing of an answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One HTTP answer: ``status``, ``headers`` (case-insensitive), ``body`` (bytes)."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def media_type(self) -> str:
        """Return the content type without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0]


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event: its name, its data as JSON, and the frame as it came (without the blank line)."""

    name: str
    data: Any
    frame: bytes = field(repr=False)


class Client:
    """Requests to one server, each on a connection of its own.

    :param timeout: seconds without a byte after which a request gives up.
    """

    def __init__(self, host: str, port: int, timeout: float = 40) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self._open: set[EventStream] = set()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send one request and return its answer. ``Content-Length`` and, unless given, ``Host`` are added."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout or self.timeout)
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            data = body.encode() if isinstance(body, str) else body
            given = {"Host": f"{self.host}:{self.port}", **(headers or {})}
            if data is not None:
                given.setdefault("Content-Length", str(len(data)))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return Reply(answer.status, answer.msg, answer.read())

    def get(self, target: str, **headers: str) -> Reply:
        """GET *target*; keyword arguments are headers, ``_`` for ``-``."""
        return self.request("GET", target, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def post_json(self, target: str, value: object, **options: Any) -> Reply:
        """POST *value* as JSON."""
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.request("POST", target, json.dumps(value), headers, **options)

    def send(self, content: str, kind: str = "user", **options: Any) -> Reply:
        """POST a message of the type *kind*."""
        return self.post_json("/message", {"content": content, "type": kind}, **options)

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that the server holds, each row without the spaces at its end."""
        return [{**row, "content": without_padding(row["content"])} for row in self.get("/messages").json()["messages"]]

    def raw(self, data: bytes, timeout: float | None = None) -> bytes:
        """Send *data* on a connection of its own and return all that comes until the server closes it."""
        with socket.create_connection((self.host, self.port), timeout or self.timeout) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def events(self, target: str = "/events", timeout: float | None = None, **headers: str) -> EventStream:
        """Open an event stream; use it in a ``with`` block.

        :param timeout: seconds for the whole of each :meth:`EventStream.until`.
        """
        stream = EventStream(self.host, self.port, target, timeout or self.timeout, headers)
        self._open.add(stream)
        return stream

    def close(self) -> None:
        """Close the event streams that are still open."""
        while self._open:
            self._open.pop().close()


class EventStream:
    """One open event stream and all events seen on it so far (``seen``)."""

    def __init__(self, host: str, port: int, target: str, timeout: float, headers: Mapping[str, str]) -> None:
        self._timeout = timeout
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self._connection.request("GET", target, headers={name.replace("_", "-"): v for name, v in headers.items()})
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.headers = self._answer.msg
        self.seen: list[Event] = []

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they come until the server ends the stream; comments are passed over."""
        while (frame := self._frame()) is not None:
            lines = frame.decode().split("\n")
            fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
            if "data" in fields:
                event = Event(fields.get("event", "message"), json.loads(fields["data"]), frame)
                self.seen.append(event)
                yield event

    def _frame(self) -> bytes | None:
        lines: list[bytes] = []
        while (line := self._answer.readline()) not in (b"", b"\n"):
            lines.append(line)
        return b"".join(lines) if line else None

    def until(self, wanted: Callable[[Event], object]) -> Event:
        """Read on until an event is *wanted* and return it.

        :raises AssertionError: the stream ended first; the text has what was seen.
        :raises TimeoutError: nothing came for the time limit of the stream.
        """
        for event in self:
            if wanted(event):
                return event
        raise AssertionError(f"the event stream ended after {self.seen}")

    def until_stable(self) -> Event:
        """Read on until the agent is stable."""
        return self.until(lambda event: event.name == "status_change" and event.data["status"] == "stable")

    def until_message(self, text: str, role: str = "agent") -> Event:
        """Read on until a message of *role* contains *text*."""
        return self.until(
            lambda event: (
                event.name == "message_update" and event.data["role"] == role and text in event.data["message"]
            )
        )

    def close(self) -> None:
        """Leave the stream; twice does no harm."""
        self._answer.close()
        self._connection.close()


def without_padding(text: str) -> str:
    """Return *text* with the spaces at the end of each row taken off."""
    return "\n".join(row.rstrip() for row in text.split("\n"))
