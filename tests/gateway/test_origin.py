"""What an agent server answers does not act in the name of this server's own pages."""

from __future__ import annotations

import pytest

from agentproxy.gateway.head import Head, parse_answer
from agentproxy.gateway.rules import answer_for_client
from agentproxy.model.cors import CorsRules

HEAD = Head(b"GET", b"/x", [(b"Host", b"us")])


def passed(*lines: str, trusted: bool = False, extra: str = "") -> str:
    """Return the head that a client gets, of one with these lines; *extra* makes it be read line by line."""
    text = "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 5", *lines, *([extra] if extra else []), "", ""])
    answer = parse_answer(text.encode(), b"GET", 100)
    return answer_for_client(answer, HEAD, CorsRules(trust_agents=trusted), False).decode()


PAGES = [
    "Content-Type: text/html",
    "Content-Type: TEXT/HTML; charset=utf-8",
    "content-type: application/xhtml+xml",
    "Content-Type: image/svg+xml",
    "Content-Type: text/xml",
    "Content-Type: application/pdf",
    "Content-Type: */*",
    "Content-Type:",
    "X-Nothing: 1",
    "Content-Type: application/json\r\nContent-Type: text/html",
    "Content-Type: application/json, text/html",
]
DATA = [
    "Content-Type: application/json",
    "Content-Type: application/problem+json; charset=utf-8",
    "Content-Type: text/event-stream",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Type: image/png",
    "Content-Type: application/octet-stream",
]


@pytest.mark.parametrize("extra", ["", "Vary: Accept", "Connection: X-Y"])
@pytest.mark.parametrize("line", PAGES)
def test_what_a_browser_could_show_is_sandboxed(line: str, extra: str) -> None:
    """A page of an agent runs as a stranger, whatever it calls itself; unless agents are trusted."""
    got = passed(line, extra=extra)
    assert "\r\nContent-Security-Policy: sandbox " in got
    assert "allow-same-origin" not in got
    assert "\r\nX-Content-Type-Options: nosniff\r\n" in got
    assert "Content-Security-Policy" not in passed(line, extra=extra, trusted=True)


@pytest.mark.parametrize("line", DATA)
def test_data_is_passed_on_as_it_is(line: str) -> None:
    """Nothing is added to what no browser shows as a page."""
    assert "Content-Security-Policy" not in passed(line)


@pytest.mark.parametrize("extra", ["", "Vary: Accept", "Connection: X-Y"])
@pytest.mark.parametrize(
    "line",
    [
        "Set-Cookie: agentproxy_session=mine; Path=/",
        "set-cookie:agentproxy_login=x",
        "Set-Cookie:   AgentProxy_session=mine",
        'Clear-Site-Data: "*"',
        "Service-Worker-Allowed: /",
        'Alt-Svc: h3=":443"',
        "Strict-Transport-Security: max-age=1",
        "Access-Control-Allow-Origin: *",
    ],
)
def test_nothing_is_said_for_the_whole_origin(line: str, extra: str) -> None:
    """An agent server logs nobody in or out, and changes no rule of ours; its own cookies pass."""
    got = passed("Content-Type: application/json", "Set-Cookie: own=1", line, extra=extra)
    name = line.partition(":")[0].lower()
    assert ("agentproxy_" if name == "set-cookie" else f"\r\n{name}:") not in got.lower()
    assert "Set-Cookie: own=1\r\n" in got
    assert "Content-Type: application/json\r\n" in got
