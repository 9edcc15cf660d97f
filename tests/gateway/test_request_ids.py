"""The id of a request on its way: from the client to the agent server, and back in every answer."""

from __future__ import annotations

import re

import pytest

from tests.gateway.memory import OK, SWITCH, UPGRADE, Gateway, get


def ids(raw: bytes) -> list[str]:
    """Return the ids in a head."""
    return re.findall(r"^x-request-id: (.*?)\r$", raw.partition(b"\r\n\r\n")[0].decode() + "\r\n", re.I | re.M)


def passed(extra: str = "", answer: bytes = OK) -> tuple[list[str], list[str]]:
    """Return the ids that the agent server and the client got."""
    gateway = Gateway()
    client = gateway.client(get("/x", extra))
    agent = gateway.agent()
    agent.hear(answer)
    return ids(agent.value()), ids(client.value())


def test_a_client_s_id_goes_on_and_comes_back() -> None:
    """Whoever traces a request finds it under one name everywhere."""
    assert passed("X-Request-ID: mine/1\r\n") == (["mine/1"], ["mine/1"])


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, 'a"b', "a\tb", "caf\xe9"])
def test_a_bad_id_is_replaced(bad: str) -> None:
    """What could confuse a reader of a log, or fill it, is not taken over."""
    at_agent, at_client = passed(f"X-Request-ID: {bad}\r\n")
    assert at_agent == at_client
    assert re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", at_client[0])


def test_every_request_has_an_id_of_its_own() -> None:
    """Equal heads come from memory, their ids do not; an agent server's own id is not passed on."""
    gateway = Gateway()
    answer = b"HTTP/1.1 200 OK\r\nX-Request-ID: agent\r\nContent-Length: 2\r\n\r\nok"
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    agent.hear(answer)
    for _ in range(4):
        client.hear(get("/x"))
        agent.hear(answer)
    found = re.findall(rb"X-Request-ID: (\S+)\r\n", client.value())
    assert len(set(found)) == 5
    assert b"agent" not in found
    assert re.findall(rb"X-Request-ID: (\S+)\r\n", agent.value()) == found


def test_refusals_and_tunnels_have_one_too() -> None:
    """The answer that a user reports is the one that is found in the log."""
    gateway = Gateway()
    refused = gateway.client(get("/x", "X-Request-ID: r1\r\n").replace(b"0b5a1f6e", b"ffffffff"))
    assert ids(refused.value()) == ["r1"]
    broken = gateway.client(b"GET nonsense\r\n\r\n")
    assert len(ids(broken.value())) == 1
    assert passed(UPGRADE + "X-Request-ID: ws\r\n", SWITCH) == (["ws"], ["ws"])
