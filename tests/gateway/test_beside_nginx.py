"""The same requests through nginx and through us: where both let one in, the agent server must read it alike.

Being stricter is allowed and usual here; being more lenient than nginx is not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from tests.gateway.test_relay import ID, Ear, World
from tests.gateway.test_relay import world as world

reactor: Any = _reactor
pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

CONFIGURATION = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error crit;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen unix:{dir}/front; location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_request_buffering off; }} }} }}
"""


def request(line: str, *headers: str, body: str = "") -> bytes:
    """Return one request to the session."""
    return "\r\n".join([line, *headers, "", body]).replace("ID", ID).encode("latin-1")


HOST = "Host: us"
CORPUS = {
    "plain": request("GET /ID/a HTTP/1.1", HOST),
    "query": request("GET /ID/a?b=c&d=%2F HTTP/1.1", HOST),
    "many slashes": request("GET /ID//a///b HTTP/1.1", HOST),
    "encoded": request("GET /ID/%61%2Fb HTTP/1.1", HOST),
    "length": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 5", body="hello"),
    "length zero": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 0"),
    "leading zeros": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 005", body="hello"),
    "chunked": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"),
    "Chunked": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: Chunked", body="5\r\nhello\r\n0\r\n\r\n"),
    "extension": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="5;a=b\r\nhello\r\n0\r\n\r\n"),
    "trailer": request(
        "POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\nX: y\r\n\r\n"
    ),
    "capital size": request(
        "POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="A\r\nhellohello\r\n0\r\n\r\n"
    ),
    "zeros in size": request(
        "POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="0005\r\nhello\r\n00\r\n\r\n"
    ),
    "old": request("GET /ID/a HTTP/1.0", HOST, "Connection: close"),
    "put": request("PUT /ID/a HTTP/1.1", HOST, "Content-Length: 1", body="x"),
    "delete with body": request("DELETE /ID/a HTTP/1.1", HOST, "Content-Length: 1", body="x"),
    "get with body": request("GET /ID/a HTTP/1.1", HOST, "Content-Length: 1", body="x"),
    "absolute": request("GET http://us/ID/a HTTP/1.1", HOST),
    "spaces round a value": request("GET /ID/a HTTP/1.1", HOST, "X:   y  "),
    "empty value": request("GET /ID/a HTTP/1.1", HOST, "X:"),
    "two lengths": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 5", "Content-Length: 6", body="hello"),
    "same length twice": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 5", "Content-Length: 5", body="hello"),
    "list of lengths": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: 5, 5", body="hello"),
    "signed length": request("POST /ID/a HTTP/1.1", HOST, "Content-Length: +5", body="hello"),
    "length and chunked": request(
        "POST /ID/a HTTP/1.1", HOST, "Content-Length: 4", "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"
    ),
    "gzip, chunked": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"),
    "identity": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: identity", body="0\r\n\r\n"),
    "tab chunked": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: \x0bchunked", body="0\r\n\r\n"),
    "chunked twice": request("POST /ID/a HTTP/1.1", HOST, *["Transfer-Encoding: chunked"] * 2, body="0\r\n\r\n"),
    "chunked in 1.0": request(
        "POST /ID/a HTTP/1.0", HOST, "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"
    ),
    "size 0x5": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="0x5\r\nhello\r\n0\r\n\r\n"),
    "size with space": request(
        "POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="5 \r\nhello\r\n0\r\n\r\n"
    ),
    "huge size": request("POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="ffffffffffffffff5\r\nhello"),
    "too long chunk": request(
        "POST /ID/a HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="4\r\nhello\r\n0\r\n\r\n"
    ),
    "no host": request("GET /ID/a HTTP/1.1"),
    "two hosts": request("GET /ID/a HTTP/1.1", HOST, HOST),
    "space before colon": request("GET /ID/a HTTP/1.1", HOST, "X : y"),
    "fold": request("GET /ID/a HTTP/1.1", HOST, "X: y", " z"),
    "nul": request("GET /ID/a HTTP/1.1", HOST, "X: \0"),
    "bare cr": request("GET /ID/a HTTP/1.1", HOST, "X: a\rb"),
    "bare lf": b"GET /%s/a HTTP/1.1\nHost: us\n\n" % ID.encode(),
    "no colon": request("GET /ID/a HTTP/1.1", HOST, "nonsense"),
    "two spaces": request("GET  /ID/a HTTP/1.1", HOST),
    "lower case method": request("get /ID/a HTTP/1.1", HOST),
    "version 2": request("GET /ID/a HTTP/2.0", HOST),
    "climbing": request("GET /ID/../a HTTP/1.1", HOST),
    "climbing, encoded": request("GET /ID/%2e%2e/a HTTP/1.1", HOST),
    "upgrade with body": request(
        "POST /ID/a HTTP/1.1", HOST, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", body="hello"
    ),
}
ONLY_OURS = {
    "lower case method": "methods are tokens and case counts: the agent server decides",
}
CANARY = request("GET /ID/canary HTTP/1.1", HOST, "Connection: close")


@dataclass(frozen=True)
class Heard:
    """One request as the agent server read it."""

    method: bytes
    target: bytes
    body: bytes


@dataclass
class Recorder:
    """An agent server that reads strictly what its proxies send, and answers."""

    heard: list[Heard] = field(default_factory=list)


class Reading(Protocol):
    """One connection to the recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        while self._one():
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # type: ignore[union-attr]

    def _one(self) -> bool:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return False
        length = re.findall(rb"(?im)^content-length: *(\d+)\r?$", head)
        body = b""
        if re.search(rb"(?im)^transfer-encoding: *chunked\r?$", head):
            while True:
                size, end, rest = rest.partition(b"\r\n")
                if not end:
                    return False
                count = int(size.split(b";")[0], 16)
                if len(rest) < count + 2:
                    return False
                body, rest = body + rest[:count], rest[count + 2 :] if count else rest
                if not count:
                    break
            _trailers, end, rest = (b"\r\n" + rest).partition(b"\r\n\r\n")
            if not end:
                return False
        elif length:
            body, rest = rest[: int(length[0])], rest[int(length[0]) :]
            if len(body) < int(length[0]):
                return False
        method, target, _version = head.split(b"\r\n")[0].split(b" ")
        self._recorder.heard.append(Heard(method, target.removeprefix(b"/" + ID.encode()), body))
        self._data = rest
        return True


@pytest_twisted.async_yield_fixture
async def nginx(world: World, tmp_path: Path) -> AsyncIterator[tuple[Recorder, Path]]:
    """nginx and we in front of one recorder."""
    recorder = Recorder()
    port = reactor.listenTCP(0, Factory.forProtocol(lambda: Reading(recorder)), interface="127.0.0.1")
    directory: Any = world.front.relay.directory
    directory.backend = type(directory.backend)("127.0.0.1", port.getHost().port)
    text = CONFIGURATION.format(dir=tmp_path, port=port.getHost().port)
    (tmp_path / "conf").write_text(text, encoding="ascii")
    process = subprocess.Popen(["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "conf")])
    try:
        for _ in range(2000):
            if (tmp_path / "front").exists():
                break
            await deferLater(reactor, 0.01)
        yield recorder, tmp_path / "front"
    finally:
        process.terminate()
        process.wait(30)
        world.front.stop()
        await port.stopListening()


async def told(recorder: Recorder, client: Any, raw: bytes) -> list[Heard]:
    """Send the request and the canary; return what the recorder heard when all is quiet."""
    recorder.heard.clear()
    client.transport.write(raw + CANARY)
    for turn in range(3000):
        if client.closed or any(b"canary" in one.target for one in recorder.heard):
            break
        if turn > 300 and not client.heard and not recorder.heard:
            break  # it waits for more, which never comes
        await deferLater(reactor, 0.002)
    client.transport.abortConnection()
    return list(recorder.heard)


@pytest_twisted.ensureDeferred
async def test_what_both_let_in_is_read_alike(world: World, nginx: tuple[Recorder, Path]) -> None:
    """The agent server reads the same requests from us as from nginx; what nginx refuses, so do we."""
    recorder, path = nginx
    lenient, different = [], []
    for name, raw in CORPUS.items():
        client: Any = await UNIXClientEndpoint(reactor, str(path)).connect(Factory.forProtocol(Ear))
        theirs = await told(recorder, client, raw)
        us = TCP4ClientEndpoint(reactor, "127.0.0.1", world.port.getHost().port)
        client = await us.connect(Factory.forProtocol(Ear))
        ours = await told(recorder, client, raw)
        if ours and not theirs and name not in ONLY_OURS:
            lenient.append(name)
        if ours and theirs and ours != theirs:
            different.append((name, ours, theirs))
    assert lenient == []
    assert different == []
