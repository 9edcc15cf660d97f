#!/usr/bin/env python3
"""Load on one proxy; each kind prints one line of JSON: ``load.py sse|ws|down|up|paced PORT PREFIX ...``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"


def _quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


class _Reader(asyncio.Protocol):
    """Counts events, so that thousands of streams cost little here."""

    opened = 0
    events = 0
    lost = 0

    def __init__(self, ask: bytes) -> None:
        self._ask = ask
        self._fresh = True

    def connection_made(self, transport: Any) -> None:
        transport.write(self._ask)

    def data_received(self, data: bytes) -> None:
        if self._fresh and b": hello\n\n" in data:
            self._fresh = False
            _Reader.opened += 1
        _Reader.events += data.count(b"event: message_update")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        _Reader.lost += 1


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


async def sse(port: int, prefix: str, count: str, seconds: str) -> None:
    """Open streams, say so, wait for a line, count events for some seconds, say how many; end at the end of the input."""
    loop = asyncio.get_running_loop()
    ask = f"GET {prefix}/bench/sse HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
    for begin in range(0, int(count), 200):
        for _ in range(min(200, int(count) - begin)):
            await loop.create_connection(lambda: _Reader(ask), HOST, port)
        while _Reader.opened < min(begin + 200, int(count)) and not _Reader.lost:
            await asyncio.sleep(0.01)
    _say(opened=_Reader.opened)
    await loop.run_in_executor(None, sys.stdin.readline)
    before, begun = _Reader.events, time.monotonic()
    await asyncio.sleep(float(seconds))
    _say(events=_Reader.events - before, seconds=time.monotonic() - begun, lost=_Reader.lost)
    await loop.run_in_executor(None, sys.stdin.readline)


async def ws(port: int, prefix: str, count: str, seconds: str) -> None:
    """Send 128 bytes and wait for them, again and again, on some tunnels."""
    stop = time.monotonic() + float(seconds)
    ask = f"GET {prefix}/bench/ws HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    ask += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

    async def one() -> int:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(ask.encode())
        await reader.readuntil(b"\r\n\r\n")
        turns = 0
        while time.monotonic() < stop:
            writer.write(b"w" * 128)
            await reader.readexactly(128)
            turns += 1
        writer.close()
        return turns

    _say(turns=sum(await asyncio.gather(*[one() for _ in range(int(count))])))


async def down(port: int, prefix: str, kind: str, size: str) -> None:
    """Read one long answer."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 20)
    writer.write(
        f"GET {prefix}/bench/down/{kind}/{size} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    )
    begun, got = time.monotonic(), 0
    while data := await reader.read(1 << 18):
        got += len(data)
        if kind == "length" and got >= int(size):
            break
        if data.endswith(b"0\r\n\r\n"):
            break
    _say(bytes=got, seconds=time.monotonic() - begun)
    writer.close()


async def up(port: int, prefix: str, kind: str, size: str) -> None:
    """Send one long body and wait for the answer."""
    framing = "Transfer-Encoding: chunked" if kind == "chunked" else f"Content-Length: {size}"
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"POST {prefix}/bench/up HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n".encode())
    piece = b"u" * 65536
    begun = time.monotonic()
    for _ in range(int(size) // len(piece)):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if kind == "chunked" else piece)
        await writer.drain()
    if kind == "chunked":
        writer.write(b"0\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    _say(bytes=int(size), seconds=time.monotonic() - begun, answer=answer.split(b"\r\n")[0].decode())
    writer.close()


async def paced(port: int, prefix: str, rate: str, seconds: str, connections: str = "32") -> None:
    """Ask at a fixed rate over some connections; a request waits in line when its connection is busy, and that counts."""
    loop = asyncio.get_running_loop()
    ask = f"GET {prefix}/status HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\n\r\n".encode()
    lags: list[float] = []

    class One(asyncio.Protocol):
        def __init__(self) -> None:
            self.due: list[float] = []

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            for _ in range(data.count(b"HTTP/1.1 200")):
                lags.append(loop.time() - self.due.pop(0))

    made: list[Any] = [(await loop.create_connection(One, HOST, port))[1] for _ in range(int(connections))]
    begun = loop.time()
    total = int(float(rate) * float(seconds))
    for turn in range(total):
        pause = begun + turn / float(rate) - loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        one = made[turn % len(made)]
        one.due.append(loop.time())
        one.transport.write(ask)
    deadline = loop.time() + 20
    while len(lags) < total and loop.time() < deadline:
        await asyncio.sleep(0.05)
    _say(asked=total, answered=len(lags), p50=_quantile(lags, 0.5) * 1e3, p99=_quantile(lags, 0.99) * 1e3)


KINDS: dict[str, Callable[..., Any]] = {"sse": sse, "ws": ws, "down": down, "up": up, "paced": paced}

if __name__ == "__main__":
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(KINDS[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:]))
