"""The HTTP face: agentapi's routes and some more, on twisted.web's request without its resource tree.

=====================  ===============================================================================
GET /status            ``status``, ``agent_type``, ``transport``; also ``prompt`` (the input box shows)
GET /messages          all messages
POST /message          ``user``: typed and entered; ``raw``: keys, at once
POST /upload           one file (multipart field ``file``)
GET /events            messages, status, errors; replayed for each new reader; ``agent_exited`` at the end
GET /internal/screen   the screen at each change
GET /screen            text, cursor and size
GET /health            200 while the agent lives
POST /interrupt        the agent's own interrupt key
GET /openapi.json      these routes as OpenAPI 3.1
GET /schemas/X.json    the JSON schema of an answer, ``null`` for an unknown one
=====================  ===============================================================================

With a door, a request without its secret gets 403 whatever it asks for.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from agentproxy.embedded.body import ProblemError, fault, message_wish
from agentproxy.embedded.openapi import document, schema
from agentproxy.embedded.session import SendError, Session, message_event
from agentproxy.embedded.stream import Stream
from agentproxy.embedded.uploads import MOST_UPLOAD, UploadError, Uploads

MOST_REQUEST = MOST_UPLOAD + 64 * 1024
EVENTS = ("message_update", "status_change", "agent_error", "agent_exited")


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may ask: ``door`` (the secret, None for no door), hosts and origins as agentapi means them, the UI's path."""

    door: str | None = None
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    origins: tuple[str, ...] = ("http://localhost:3284", "http://localhost:3000", "http://localhost:3001")
    chat: str = "/chat"


def host_name(host: str) -> str:
    """Return the name in a Host header, lower case, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    name, _colon, port = host.partition(":")
    return name.lower() if not port or port.isdigit() else ""


class Site(HTTPFactory):
    """Serves one :class:`Session` to everybody whom *rules* admit."""

    def __init__(self, session: Session, rules: Rules, uploads: Uploads, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.session, self.rules, self.uploads, self.clock = session, rules, uploads, reactor
        self.streams: set[Stream] = set()
        self.routes: dict[str, tuple[str, Callable[[Asked], Any]]] = {
            "/status": ("GET", Asked.status),
            "/messages": ("GET", Asked.messages),
            "/message": ("POST", Asked.message),
            "/upload": ("POST", Asked.upload),
            "/events": ("GET", Asked.events),
            "/internal/screen": ("GET", Asked.screens),
            "/screen": ("GET", Asked.screen),
            "/health": ("GET", Asked.health),
            "/interrupt": ("POST", Asked.interrupt),
            "/openapi.json": ("GET", Asked.openapi),
        }

    def buildProtocol(self, addr: Any) -> Any:
        """Return a channel whose requests are :class:`Asked`."""
        channel: Any = super().buildProtocol(addr)
        getattr(channel, "_channel", channel).requestFactory = self._request
        return channel

    def _request(self, channel: HTTPChannel, *_queued: object) -> Asked:
        return Asked(channel, self)

    def log(self, request: Any) -> None:
        """Write no access log: it would repeat the whole life of the session."""

    def end_streams(self) -> None:
        """End all event streams in good order."""
        for stream in list(self.streams):
            stream.finish()
        self.streams.clear()


class Asked(Request):
    """One request."""

    _log = Logger()

    def __init__(self, channel: HTTPChannel, site: Site) -> None:
        super().__init__(channel)
        self.site, self.session = site, site.session
        self._size = 0

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body; what is beyond the most that any route takes is dropped."""
        self._size += len(data)
        if self._size <= MOST_REQUEST:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def parse_form(self) -> None:
        """Forms are read by the routes."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer; the body is left as it came."""
        if self.content:
            self.content.seek(0)
        self.args: dict[bytes, list[bytes]] = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def setHeader(self, name: Any, value: Any) -> None:
        """Set a header of the answer."""
        super().setHeader(name, value)  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        """Write a part of the answer's body."""
        super().write(data)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """End the answer."""
        super().finish()  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Answer the request."""
        done = Deferred.fromCoroutine(self._process())
        done.addErrback(lambda failure: self._log.failure("A request could not be answered.", failure))

    async def _process(self) -> None:
        try:
            if self._admitted():
                await self._route()
        except ProblemError as problem:
            self._json(problem.status, "ErrorModel", problem.as_json(self._schema("ErrorModel")))
        except SendError as refused:
            failed = ProblemError(500, "unexpected error occurred", [{"message": str(refused)}])
            self._json(500, "ErrorModel", failed.as_json(self._schema("ErrorModel")))

    def _admitted(self) -> bool:
        rules = self.site.rules
        given = self.getHeader("x-agentproxy-door") or ""
        if rules.door is not None and not hmac.compare_digest(given.encode(), rules.door.encode()):
            raise ProblemError(403, "the door secret is missing or wrong")
        names = [name.strip("[]").lower() for name in rules.hosts]
        if "*" not in names and host_name(self.getHeader("host") or "") not in names:
            self.setHeader("X-Content-Type-Options", "nosniff")
            self._text(400, f"Invalid host header. Allowed hosts: {', '.join(names)}\n")
            return False
        self.responseHeaders.addRawHeader("Vary", "Origin")
        origin = self.getHeader("origin")
        if origin and any(_matches(origin, rule) for rule in rules.origins):
            self.setHeader("Access-Control-Allow-Credentials", "true")
            self.setHeader("Access-Control-Allow-Origin", "*" if "*" in rules.origins else origin)
            self.setHeader("Access-Control-Expose-Headers", "Link")
        return True

    async def _route(self) -> None:
        path, method = self.path.decode("latin-1"), self.method.decode("latin-1")
        asked = self.getHeader("access-control-request-method")
        if method == "OPTIONS" and asked:
            return self._preflight(asked)
        if path == "/":
            self.setHeader("Location", "/" + f"{self.site.rules.chat}/embed".lstrip("/"))
            return self._text(307, "")
        if method == "GET" and path.startswith("/schemas/") and path.endswith(".json"):
            self.setHeader("Content-Type", "application/json")
            return self._body(200, json.dumps(schema(path[len("/schemas/") : -len(".json")])).encode())
        if path not in self.site.routes:
            self.setHeader("X-Content-Type-Options", "nosniff")
            missing = "404 page not found\n"
            if path == "/chat" or path.startswith("/chat/"):
                missing = "This agent server has no chat interface.\n"
            return self._text(404, missing)
        allowed, answer = self.site.routes[path]
        if method != allowed:
            self.setHeader("Allow", allowed)
            return self._body(405, b"")
        result = answer(self)
        if result is not None:
            await result
        return None

    def _preflight(self, asked: str) -> None:
        self.responseHeaders.addRawHeader("Vary", "Access-Control-Request-Method")
        self.responseHeaders.addRawHeader("Vary", "Access-Control-Request-Headers")
        if self.responseHeaders.hasHeader("Access-Control-Allow-Origin"):
            self.responseHeaders.removeHeader("Access-Control-Expose-Headers")
            if asked.upper() in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                self.setHeader("Access-Control-Allow-Methods", asked.upper())
                self.setHeader("Access-Control-Max-Age", "300")
                if wanted := self.getHeader("access-control-request-headers"):
                    self.setHeader("Access-Control-Allow-Headers", wanted.title())
        self._body(200, b"")

    def _sent(self) -> bytes:
        return bytes(self.content.read()) if self.content else b""

    # routes

    def status(self) -> None:
        """GET /status."""
        session = self.session
        answer = {**session.status_event(), "transport": "pty", "prompt": session.prompt}
        if session.exit is not None:
            answer["exit"] = session.exit
        self._ok("StatusResponseBody", answer)

    def messages(self) -> None:
        """GET /messages."""
        rows = [
            {"id": m.id, "content": m.content, "role": m.role, "time": m.time}
            for m in self.session.conversation.messages
        ]
        self._ok("MessagesResponseBody", {"messages": rows})

    async def message(self) -> None:
        """POST /message."""
        content, kind = message_wish(self._sent(), self.getHeader("content-type"))
        if kind == "raw":
            self.session.write(content.encode("utf-8", "replace"))
        else:
            await self.session.say(content)
        self._ok("MessageResponseBody", {"ok": True})

    def upload(self) -> None:
        """POST /upload."""
        try:
            path = self.site.uploads.take(self._sent(), self.getHeader("content-type") or "")
        except UploadError as refused:
            where = refused.location
            errors = [fault(refused.text, where, None)] if where else None
            raise ProblemError(refused.status, "validation failed" if where else refused.text, errors) from None
        self._ok("UploadResponseBody", {"ok": True, "filePath": str(path)})

    def events(self) -> None:
        """GET /events."""
        stream = self._stream(EVENTS)
        session = self.session
        for message in session.conversation.messages:
            stream.tell("message_update", message_event(message))
        stream.tell("status_change", session.status_event())
        for error in session.errors:
            stream.tell("agent_error", error)

    def screens(self) -> None:
        """GET /internal/screen."""
        self._stream(("screen",)).tell("screen", {"screen": self.session.screen.text})

    def screen(self) -> None:
        """GET /screen."""
        screen = self.session.screen
        column, row = screen.cursor
        size = {"width": screen.width, "height": screen.height}
        self._ok("ScreenResponseBody", {"text": screen.text, "cursor": {"column": column, "row": row}, "size": size})

    def health(self) -> None:
        """GET /health."""
        self._ok("HealthResponseBody", {"ok": self.session.exit is None})

    def interrupt(self) -> None:
        """POST /interrupt: Escape, or Ctrl-C for the agents that know no other key."""
        key = b"\x03" if self.session.agent_type in ("custom", "aider", "goose", "amazonq") else b"\x1b"
        self.session.write(key)
        self._ok("InterruptResponseBody", {"ok": True})

    def openapi(self) -> None:
        """GET /openapi.json."""
        self.setHeader("Content-Type", "application/vnd.oai.openapi+json")
        self._body(200, json.dumps(document()).encode())

    # answers

    def _stream(self, wanted: tuple[str, ...]) -> Stream:
        stream = Stream(self, self.site.clock, wanted)
        self.site.streams.add(stream)
        self.session.listeners.add(stream.tell)

        def gone(_result: object) -> None:
            stream.closed()
            self.site.streams.discard(stream)
            self.session.listeners.discard(stream.tell)

        self.notifyFinish().addBoth(gone)
        return stream

    def _schema(self, name: str) -> str:
        host = self.getHeader("host") or ""
        scheme = "http" if host.startswith(("localhost", "127.0.0.1")) else "https"
        return f"{scheme}://{host}/schemas/{name}.json"

    def _ok(self, name: str, answer: dict[str, Any]) -> None:
        self._json(200, name, {"$schema": self._schema(name), **answer})

    def _json(self, status: int, name: str, answer: dict[str, Any]) -> None:
        self.setHeader("Content-Type", "application/json" if status == 200 else "application/problem+json")
        self.setHeader("Link", f'</schemas/{name}.json>; rel="describedBy"')
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._body(status, text.encode("utf-8", "replace"))

    def _text(self, status: int, text: str) -> None:
        self.setHeader("Content-Type", "text/plain; charset=utf-8")
        self._body(status, text.encode())

    def _body(self, status: int, data: bytes) -> None:
        if self._disconnected or self.finished:
            return
        self.setResponseCode(status)
        self.setHeader("Content-Length", str(len(data)))
        self.write(data)
        self.finish()


def _matches(origin: str, rule: str) -> bool:
    head, star, tail = rule.partition("*")
    return origin == rule or (bool(star) and origin.startswith(head) and origin.endswith(tail))
