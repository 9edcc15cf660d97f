"""The HTTP face: who may ask, which route answers, and how answers look; on twisted.web's request without its resource tree.

The routes are in :mod:`agentproxy.embedded.routes`. With a door, a request without its secret gets 403 whatever it asks for.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from html import escape
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString

from agentproxy.embedded.body import ProblemError, reason
from agentproxy.embedded.openapi import schema
from agentproxy.embedded.routes import ROUTES
from agentproxy.embedded.stream import Frames, Stream
from agentproxy.embedded.talk import SendError, Talk
from agentproxy.embedded.uploads import MOST_UPLOAD, Uploads

MOST_REQUEST = MOST_UPLOAD + 64 * 1024
TOO_LARGE = ProblemError(413, f"request body is too large limit={MOST_REQUEST} bytes")
BODY_DEADLINE = 5.0
"""Seconds within which the next part of a body comes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may ask: ``door`` (the secret, None for no door), hosts and origins as agentapi means them, the UI's path."""

    door: str | None = None
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    origins: tuple[str, ...] = ("http://localhost:3284", "http://localhost:3000", "http://localhost:3001")
    chat: str = "/chat"


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
CORS_METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
CORS_HEADERS = ("Accept", "Authorization", "Content-Type", "X-Csrf-Token", "Origin")
_IN_HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]%]*")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def host_name(host: str) -> str:
    """Return the name in a Host header, lower case, without its port and brackets; "" for one that makes no sense."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name.lower() if bracket and re.fullmatch(r"(:\d*)?", port) else ""
    name, _colon, port = host.partition(":")
    return name.lower() if not port or port.isdigit() else ""


class Site(HTTPFactory):
    """Serves one agent to everybody whom *rules* admit.

    ``streams`` and ``attached`` are the open event streams and terminals; ``resized`` is called when the terminal has another size.
    """

    def __init__(self, session: Talk, rules: Rules, uploads: Uploads, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.timeOut = None  # idle connections are kept, as agentapi keeps them
        self.session, self.rules, self.uploads, self.clock = session, rules, uploads, reactor
        self.streams: set[Stream] = set()
        self.attached: set[Any] = set()
        self.frames = Frames()

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
        """End all event streams and attached terminals in good order."""
        for terminal in list(self.attached):
            terminal.end()
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
        self._refused = False
        self._late: Any = None

    def gotLength(self, length: int | None) -> None:
        """Expect a body of *length* (None: in chunks); one that is too large for every route is refused before it is read."""
        super().gotLength(length)  # type: ignore[no-untyped-call]
        if length is not None and length > MOST_REQUEST:
            self._refuse_at_once(TOO_LARGE)
        elif length != 0:
            self._late = self.site.clock.callLater(BODY_DEADLINE, self._too_slow)

    def _too_slow(self) -> None:
        self._refuse_at_once(ProblemError(408, "request body read timeout"))

    def _refuse_at_once(self, problem: ProblemError) -> None:
        """Answer before the body has come, and close."""
        self._refused = True
        self._body_ended()
        answer = (
            json.dumps(problem.as_json(self._schema("ErrorModel")), ensure_ascii=False, separators=(",", ":")) + "\n"
        )
        body = answer.encode("utf-8", "replace")
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\nContent-Type: application/problem+json\r\n"
            f'Link: </schemas/ErrorModel.json>; rel="describedBy"\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n'
        )
        channel: Any = self.channel
        channel.transport.write(head.encode("latin-1", "replace") + body)
        channel.loseConnection()

    def _body_ended(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    def connectionLost(self, reason: Any) -> None:
        """Forget the deadline of the body."""
        self._body_ended()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body; what is beyond the most that any route takes is dropped."""
        self._size += len(data)
        if self._late is not None and self._late.active():
            self._late.reset(BODY_DEADLINE)
        if self._size <= MOST_REQUEST:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
        elif self._size - len(data) <= MOST_REQUEST:
            self._refuse_at_once(TOO_LARGE)

    def parse_form(self) -> None:
        """Forms are read by the routes."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer; the body is left as it came."""
        self._body_ended()
        if self._refused:
            return
        if self.content:
            self.content.seek(0)
        self.args: dict[bytes, list[bytes]] = {}
        if absolute := _ABSOLUTE.fullmatch(path):
            self.requestHeaders.setRawHeaders("host", [absolute[1].decode("latin-1")])
            path = absolute[2] or b"/"
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        if why := self._host_fault():
            self._plain_refusal(why)
        else:
            self.process()

    def _host_fault(self) -> str:
        """Return what is wrong with the Host header, which the HTTP layer itself looks at; "" for nothing."""
        hosts = self.requestHeaders.getRawHeaders("host") or []
        if len(hosts) > 1:
            return "too many Host headers"
        if not hosts and self.clientproto == b"HTTP/1.1":
            return "missing required Host header"
        return "malformed Host header" if hosts and not _IN_HOST.fullmatch(hosts[0]) else ""

    def _plain_refusal(self, why: str) -> None:
        """Answer with 400 and close."""
        channel: Any = self.channel
        head = (
            f"HTTP/1.1 400 Bad Request: {why}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        )
        channel.transport.write(f"{head}400 Bad Request: {why}".encode())
        channel.loseConnection()

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
            told = {"code": refused.code, "delivery": refused.delivery}
            if refused.code == "busy":
                self.setHeader("Retry-After", "2")
            self._json(500, "ErrorModel", {**failed.as_json(self._schema("ErrorModel")), **told})

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
        if method not in METHODS:
            return self._body(405, b"")
        if path == "/":
            place = "/" + f"{self.site.rules.chat}/embed".lstrip("/")
            self.setHeader("Location", place)
            if method not in ("GET", "HEAD"):
                return self._body(307, b"")
            self.setHeader("Content-Type", "text/html; charset=utf-8")
            return self._body(307, f'<a href="{escape(place)}">Temporary Redirect</a>.\n\n'.encode())
        if method == "GET" and path.startswith("/schemas/"):
            self.setHeader("Content-Type", "application/json")
            return self._body(200, json.dumps(schema(path[len("/schemas/") :].removesuffix(".json"))).encode())
        if path not in ROUTES:
            self.setHeader("X-Content-Type-Options", "nosniff")
            missing = "404 page not found\n"
            if path == "/chat" or path.startswith("/chat/"):
                missing = "This agent server has no chat interface.\n"
            return self._text(404, missing)
        answers = ROUTES[path]
        if method not in answers:
            self.setHeader("Allow", ", ".join(answers))
            return self._body(405, b"")
        result = answers[method](self)
        if result is not None:
            await result
        return None

    def from_foreign_page(self) -> bool:
        """Say whether a browser asks on behalf of a page of another origin than the allowed ones.

        Behind a door none does: whoever has its secret has judged the page by the name that the browser called.
        """
        origin = self.getHeader("origin")
        if not origin or self.site.rules.door is not None:
            return False
        own = origin.partition("://")[2] == (self.getHeader("host") or "")
        return not own and not any(_matches(origin, rule) for rule in self.site.rules.origins)

    def _preflight(self, asked: str) -> None:
        self.responseHeaders.addRawHeader("Vary", "Access-Control-Request-Method")
        self.responseHeaders.addRawHeader("Vary", "Access-Control-Request-Headers")
        self.responseHeaders.removeHeader("Access-Control-Expose-Headers")
        text = (self.getHeader("access-control-request-headers") or "").title()
        wanted = [name for each in text.split(",") if (name := each.strip())]
        if asked.upper() not in CORS_METHODS or not set(wanted) <= set(CORS_HEADERS):
            self.responseHeaders.removeHeader("Access-Control-Allow-Origin")
            self.responseHeaders.removeHeader("Access-Control-Allow-Credentials")
        elif self.responseHeaders.hasHeader("Access-Control-Allow-Origin"):
            self.setHeader("Access-Control-Allow-Methods", asked.upper())
            self.setHeader("Access-Control-Max-Age", "300")
            if wanted:
                self.setHeader("Access-Control-Allow-Headers", ", ".join(wanted))
        self._body(200, b"")

    def sent(self) -> bytes:
        """Return the body."""
        return bytes(self.content.read()) if self.content else b""

    # answers

    def stream(self, wanted: tuple[str, ...]) -> Stream:
        """Begin an event stream of the events of these names."""
        stream = Stream(self, self.site.clock, wanted, self.site.frames)
        self.site.streams.add(stream)
        self.session.listeners.add(stream)

        def gone(_result: object) -> None:
            stream.closed()
            self.site.streams.discard(stream)
            self.session.listeners.discard(stream)

        self.notifyFinish().addBoth(gone)
        return stream

    def _schema(self, name: str) -> str:
        host = self.getHeader("host") or ""
        scheme = "http" if host.startswith(("localhost", "127.0.0.1")) else "https"
        return f"{scheme}://{host}/schemas/{name}.json"

    def ok(self, name: str, answer: dict[str, Any]) -> None:
        """Answer with the JSON *answer* of the schema *name*."""
        self._json(200, name, {"$schema": self._schema(name), **answer})

    def document(self, media_type: str, data: bytes) -> None:
        """Answer with a document."""
        self.setHeader("Content-Type", media_type)
        self._body(200, data)

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
        self.setResponseCode(status, reason(status).encode())
        self.setHeader("Date", datetimeToString())
        self.setHeader("Content-Length", str(len(data)))
        self.write(data)
        self.finish()


def _matches(origin: str, rule: str) -> bool:
    origin, rule = origin.lower(), rule.lower()
    head, star, tail = rule.partition("*")
    return origin == rule or (bool(star) and origin.startswith(head) and origin.endswith(tail))
