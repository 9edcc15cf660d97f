"""Which network a fenced session gets: what was asked for, or a sentence why not."""

from __future__ import annotations

import pytest

from agentproxy.runtime.networks import Chosen, Network, choose

PRIVATE = Network("private", "/usr/bin/slirp4netns")


def chosen(choice: str, has_door: bool = True, installed: bool = True, broken: str | None = None) -> Chosen:
    """Return the choice on a machine that has slirp4netns, or not, and where a trial says *broken*."""
    return choose(choice, has_door, lambda _network: broken, lambda name: f"/usr/bin/{name}" if installed else None)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("shared", Network()), ("private", PRIVATE), ("auto", PRIVATE), ("none", Network("none"))],
)
def test_what_can_be_had_is_had(choice: str, expected: Network) -> None:
    """On a machine with everything, and nothing is said."""
    assert chosen(choice) == Chosen(expected)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"installed": False}, "install slirp4netns"),
        ({"has_door": False}, "agentapi listens on a port"),
        ({"broken": "open(/dev/net/tun): Permission denied"}, "Permission denied"),
    ],
)
def test_what_cannot_be_had_is_said(facts: dict[str, object], why: str) -> None:
    """By itself the network is shared then, with a sentence; what was asked for is an error; a shared one always goes."""
    found = chosen("auto", **facts)  # type: ignore[arg-type]
    assert found.network == Network()
    assert found.sentence is not None
    assert why in found.sentence
    with pytest.raises(ValueError, match=r"sessions\.network: private cannot be had") as caught:
        chosen("private", **facts)  # type: ignore[arg-type]
    assert why in str(caught.value)
    assert chosen("shared", **facts) == Chosen(Network())  # type: ignore[arg-type]


def test_no_way_out_needs_no_program() -> None:
    """A network without a way out is bubblewrap's own."""
    assert chosen("none", installed=False) == Chosen(Network("none"))
