#!/usr/bin/env python3
"""Measure the reading of request heads: the first time, with fields that came before, and what httptools alone takes of it.

``scripts/bench heads``; microseconds per head, the best of several rounds.
"""

from __future__ import annotations

import time
import timeit
from typing import Any

import httptools

from agentproxy.gateway.head import parse_request
from agentproxy.gateway.remembering import Memory
from agentproxy.gateway.rules import CredentialRules, request_for_agent
from agentproxy.model.backend import Backend

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


class Fields:
    """What httptools tells."""

    on_header: Any


def httptools_alone(raw: bytes) -> dict[bytes, bytes]:
    """Return the fields, unchecked."""
    found: dict[bytes, bytes] = {}
    told = Fields()
    told.on_header = found.__setitem__
    httptools.HttpRequestParser(told).feed_data(raw)
    return found


def main() -> None:
    """Print the table."""
    memory = Memory()
    for _ in range(3):
        known = parse_request(RAW, 100, "127.0.0.1", False, memory)
    rules, backend = CredentialRules(), Backend("127.0.0.1", 9000, door="d" * 32)
    ways = {
        "httptools alone": lambda: httptools_alone(RAW),
        "read and checked": lambda: parse_request(RAW, 100),
        "read and checked, the fields came before": lambda: parse_request(RAW, 100, "", False, memory),
        "read, checked and rewritten": lambda: request_for_agent(
            parse_request(RAW, 100, "127.0.0.1"), backend, rules, False
        ),
        "rewritten again": lambda: request_for_agent(known.again(), backend, rules, False),
    }
    for name, way in ways.items():
        best = min(timeit.repeat(way, number=5000, repeat=15, timer=time.process_time))
        print(f"{name}: {best / 5000 * 1e6:.2f} us")


if __name__ == "__main__":
    main()
