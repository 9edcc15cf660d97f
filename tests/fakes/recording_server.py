#!/usr/bin/env python3
"""An agent server that writes down every byte that is sent to it, and starts no agent: ``received`` where it works.

Its arguments are agentapi's; ``environment`` and ``arguments`` beside ``received`` are its own, as they were.
"""

from __future__ import annotations

import json
import os
import re
import socketserver
import sys
from pathlib import Path

QUICK = {
    b"/status": {"status": "stable", "agent_type": "custom", "transport": "pty"},
    b"/messages": {"messages": []},
    b"/internal/screen": {"screen": "> "},
}
EVIL = b"""<!doctype html><p id="got">nothing</p><script>
fetch("/user/info", {credentials: "include"}).then((answer) => answer.text()).catch((error) => String(error))
  .then((text) => { document.getElementById("got").textContent = "got " + text + " " + self.origin; });
</script>"""
"""A page that tries to act as whoever opens it."""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
STABLE = b'event: status_change\ndata: {"status":"stable","agent_type":"custom"}\n\n'


class Recorder(socketserver.StreamRequestHandler):
    """One connection; each request is written down before it is answered."""

    def handle(self) -> None:
        """Answer one request and close."""
        lines = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        head = b"".join(lines)
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        body = self.rfile.read(int(length[1])) if length else b""
        with Path("received").open("ab") as file:
            file.write(head + b"\r\n" + body + b"\n")
        path = head.split(b" ")[1].partition(b"?")[0] if b" " in head else b""
        if path == b"/events":
            self.wfile.write(STREAM + STABLE)
            self.wfile.flush()
            self.rfile.read(1)  # until the other end goes
            return
        data = EVIL if path == b"/evil" else json.dumps(QUICK.get(path, {"ok": True})).encode()
        kind = b"text/html\r\nSet-Cookie: agentproxy_session=x; Path=/" if path == b"/evil" else b"application/json"
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(data)))
        self.wfile.write(b"Connection: close\r\n\r\n" + data)


class Server(socketserver.ThreadingTCPServer):
    """The server; its threads end with it."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Path("environment").write_text(json.dumps(dict(os.environ)))
    Path("arguments").write_text(json.dumps(sys.argv))
    [port] = [int(word.partition("=")[2]) for word in sys.argv if word.startswith("--port=")]
    with Server(("127.0.0.1", port), Recorder) as server:
        server.serve_forever()
