"""A small blocking WebSocket client, to attach to a terminal as a stranger's program would."""

from __future__ import annotations

import base64
import os
import socket
import struct


class Attached:
    """One WebSocket to ``/terminal``; ``seen`` has all bytes that came."""

    def __init__(self, port: int, *headers: str, timeout: float = 40, path: str = "/terminal") -> None:
        self.seen = b""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        key = base64.b64encode(os.urandom(16)).decode()
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._buffer = b""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._socket.recv(4096)
            assert data, head
            head += data
        self.head, _blank, self._buffer = head.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1])

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(65536)
            if not data:
                raise EOFError(self.seen)
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def message(self) -> tuple[int, bytes]:
        """Return opcode and content of the next frame."""
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = struct.unpack("!H", self._take(2))[0] if length == 126 else struct.unpack("!Q", self._take(8))[0]
        return first & 0x0F, self._take(length)

    def see(self, text: bytes) -> bytes:
        """Read until *text* has been seen and return everything seen."""
        while text not in self.seen:
            code, data = self.message()
            assert code in (2, 9), (code, data)
            if code == 2:
                self.seen += data
        return self.seen

    def press(self, keys: bytes, code: int = 2) -> None:
        """Send keys in one masked frame."""
        assert len(keys) < 126
        self._socket.sendall(bytes([0x80 | code, 0x80 | len(keys)]) + b"\0\0\0\0" + keys)

    def until_closed(self) -> int:
        """Read to the end and return the close code."""
        while True:
            code, data = self.message()
            if code == 8:
                return int(struct.unpack("!H", data[:2])[0])

    def close(self) -> None:
        """Leave."""
        self._socket.close()
