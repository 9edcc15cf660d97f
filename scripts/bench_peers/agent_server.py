#!/usr/bin/env python3
"""An agent server that costs little, started by the daemon in the place of agentapi.

``agent_server.py server [OPTIONS] --port N -- PROGRAM``. A program whose arguments say ``small`` gets nginx on its port (one short
JSON answer for every path); anything else is served here: event streams, tunnels that echo, long bodies both ways.
It moves itself to the processor that ``BENCH_CPU`` names, so that the proxy under test has one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

SMALL = b'{"agent_type":"custom","status":"stable","transport":"pty","padding":"' + b"x" * 110 + b'"}'
CHUNK = b"y" * 65536
EVENT = b"event: message_update\ndata: " + b"z" * 110 + b"\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 3600;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen {address}:{port} reuseport; default_type application/json;
    location = /events {{ proxy_pass http://unix:{dir}/events; proxy_buffering off; proxy_http_version 1.1; }}
    location / {{ return 200 '{body}'; }} }} }}
"""

streams: set[asyncio.StreamWriter] = set()


def _answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body


async def _events(writer: asyncio.StreamWriter, first: bytes) -> None:
    writer.write(STREAM + b"%x\r\n%s\r\n" % (len(first), first))
    await asyncio.Event().wait()


async def _down(writer: asyncio.StreamWriter, size: int, chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + framing + b"\r\n\r\n")
    piece = b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK) if chunked else CHUNK
    for _ in range(size // len(CHUNK)):
        writer.write(piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def _swallow(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        while size := int((await reader.readline()).split(b";")[0], 16):
            left = size + 2
            while left:
                left -= len(await reader.read(min(left, 1 << 18)))
        await reader.readline()
    else:
        left = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        while left:
            left -= len(await reader.read(min(left, 1 << 18)))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path.startswith(b"/bench/sse"):
                streams.add(writer)
                try:
                    await _events(writer, b": hello\n\n")
                finally:
                    streams.discard(writer)
            elif path == b"/events":
                await _events(writer, b'event: status_change\ndata: {"status":"stable","agent_type":"custom"}\n\n')
            elif path.startswith(b"/bench/down"):
                await _down(writer, int(path.rsplit(b"/", 1)[1]), b"chunked" in path)
            elif path.startswith(b"/bench/up"):
                await _swallow(reader, head.lower())
                writer.write(_answer(b"{}"))
            elif path.startswith(b"/bench/ws"):
                await _echo(reader, writer)
                return
            elif path == b"/messages":
                writer.write(_answer(b'{"messages":[]}'))
            else:
                writer.write(_answer(SMALL))
    writer.close()


async def _tick() -> None:
    """Send one event a second on every stream, a twentieth of them at a time."""
    piece = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
    turn = 0
    while True:
        await asyncio.sleep(0.05)
        turn += 1
        for writer in list(streams):
            if (id(writer) >> 8) % 20 == turn % 20:
                writer.write(piece)


async def main(port: int, small: bool) -> None:
    """Serve until SIGTERM."""
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # the session's own is too long for a UNIX socket
        nginx = None
        if small:
            server = await asyncio.start_unix_server(_serve, f"{directory}/events")
            body = SMALL.decode()
            conf = Path(directory, "conf")
            conf.write_text(NGINX.format(dir=directory, address="127.0.0.1", port=port, body=body), encoding="ascii")
            nginx = await asyncio.create_subprocess_exec("nginx", "-p", directory, "-c", str(conf))
        else:
            server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=4096)
        ticking = asyncio.create_task(_tick())
        await done.wait()
        ticking.cancel()
        server.close()
        if nginx is not None:
            nginx.terminate()
            await nginx.wait()


if __name__ == "__main__":
    if "BENCH_CPU" in os.environ:
        os.sched_setaffinity(0, {int(os.environ["BENCH_CPU"])})
    words = sys.argv[1:]
    number = next(w.partition("=")[2] or words[i + 1] for i, w in enumerate(words) if w.split("=")[0] == "--port")
    asyncio.run(main(int(number), "small" in words[words.index("--") :]))
