"""The rules over environments."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.model.environment import NAME, VALUE_LIMIT, Layers, check, clean, merge, reserved

LAYER = st.dictionaries(st.sampled_from("ABCD"), st.text(max_size=3))


@pytest.mark.parametrize(
    "name",
    ["1A", "", "A-B", "PATH", "path", "HOME", "LD_PRELOAD", "AGENTAPI_PORT", "AGENTPROXY_X", "BASH_ENV", "Ä", "A\n"],
)
def test_names_that_are_refused(name: str) -> None:
    """Illegal names and those of the server are refused at their path."""
    with pytest.raises(Refusal) as caught:
        check({name: "secret value"})
    assert caught.value.details.startswith("$.environment.")
    assert "secret value" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * (VALUE_LIMIT + 1)])
def test_values_that_are_refused(value: str) -> None:
    """Values that no process can have are refused."""
    with pytest.raises(Refusal, match=r"\$\.environment\.A"):
        check({"A": value})


def test_values_are_not_read_by_a_shell() -> None:
    """Secrets and URLs with shell characters are fine."""
    check({"URL": "https://h/?a=1&b=$2;`x`|<>"})


@given(st.builds(Layers, **{each.name: LAYER for each in fields(Layers)}))
def test_the_highest_layer_wins(layers: Layers) -> None:
    """Each variable has the value of the highest layer that names it, and none is lost or invented."""
    found = merge(layers)
    ordered = [getattr(layers, each.name) for each in reversed(fields(Layers))]
    assert set(found) == set().union(*ordered)
    for name, value in found.items():
        assert value == next(layer[name] for layer in ordered if name in layer)


def test_only_allowed_variables_pass() -> None:
    """Of the server's environment a session sees the allow-list, and never the server's own variables."""
    server = {"LANG": "C", "LC_ALL": "C", "DATABASE_URL": "secret", "AGENTPROXY_KEY": "secret"}
    assert clean(server, ["LANG", "LC_*", "AGENTPROXY_*"]) == {"LANG": "C", "LC_ALL": "C"}


@given(st.dictionaries(st.text(max_size=12) | st.from_regex(NAME, fullmatch=True), st.text(max_size=12)))
def test_any_environment_is_fit_for_exec_or_refused(environment: dict[str, str]) -> None:
    """What is accepted no kernel refuses and overrides nothing of the server's; a refusal never shows a value."""
    secret = {name: f"{value}-t0psecret" for name, value in environment.items()}
    try:
        check(secret)
    except Refusal as refusal:
        assert refusal.details.startswith("$.environment.")
        assert "t0psecret" not in str(refusal)
        return
    for name, value in secret.items():
        assert NAME.fullmatch(name)
        assert not reserved(name)
        assert b"\0" not in value.encode()


@given(
    st.dictionaries(st.from_regex(NAME, fullmatch=True), st.text(max_size=3)),
    st.lists(st.sampled_from(["*", "A*", "B"])),
)
def test_nothing_of_the_server_leaks(server: dict[str, str], allowed: list[str]) -> None:
    """Whatever is allowed: what passes is the server's own value, and never one of its own settings."""
    passed = clean({**server, "AGENTPROXY_SECRET": "s", "AGENTAPI_KEY": "s"}, allowed)
    assert passed.items() <= server.items()
    assert not any(name.startswith(("AGENTPROXY_", "AGENTAPI_")) for name in passed)
