#!/usr/bin/env python3
"""Measure the parser of request heads: ours, ours with a head that came before, and httptools with our strictness behind it.

``scripts/bench heads``; microseconds per head, the best of several rounds.
"""

from __future__ import annotations

import timeit
from typing import Any

import httptools

from agentproxy.gateway.head import Fields, Head, Memory, _check_host, parse_request

HEADERS = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) bench"),
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Authorization", "Bearer " + "k" * 110),
    ("Content-Type", "application/json"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]
RAW = b"GET /0b5a1f6e-1111-4222-8333-444455556666/status HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
RAW += "".join(f"{name}: {value}\r\n" for name, value in HEADERS).encode() + b"\r\n"


class Callbacks:
    """What httptools calls."""

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.target = b""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self.pairs.append((name, value))


def by_httptools(raw: bytes) -> Head:
    """Parse with httptools, then check what it leaves open."""
    calls = Callbacks()
    parser: Any = httptools.HttpRequestParser(calls)
    parser.feed_data(raw)
    fields = Fields(calls.pairs, raw)
    minor = 1 if parser.get_http_version() == "1.1" else 0
    _check_host(fields, minor)
    return Head(parser.get_method(), calls.target, fields, minor, "", False, fields.framing or 0)


def main() -> None:
    """Print the table."""
    memory = Memory()
    for _ in range(3):
        parse_request(RAW, 100, "", False, memory)
    ways = {
        "ours": lambda: parse_request(RAW, 100),
        "ours, the fields came before": lambda: parse_request(RAW, 100, "", False, memory),
        "httptools and our strictness": lambda: by_httptools(RAW),
    }
    assert by_httptools(RAW).headers == parse_request(RAW, 100).headers
    for name, way in ways.items():
        print(f"{name}: {min(timeit.repeat(way, number=5000, repeat=9)) / 5000 * 1e6:.2f} us")


if __name__ == "__main__":
    main()
