"""What holds for any configuration: it loads back equal, and garbage is told instead of crashing."""

from __future__ import annotations

import dataclasses
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentproxy.config import ConfigError, load
from agentproxy.config.document import plain
from agentproxy.config.explain import explain
from agentproxy.config.fields import leaves_of, options_of
from agentproxy.config.options import Config

HERE = Path("/srv/agentproxy")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="$"), max_size=12)
SPECIAL = {
    "listen": st.sampled_from(["127.0.0.1", "::1", "localhost"]),
    "endpoint": st.sampled_from(["unix:/run/a.sock", "tcp:80:interface=127.0.0.1"]),
    "trusted_proxies": st.lists(st.sampled_from(["10.0.0.0/8", "::1", "192.0.2.7"]), max_size=2),
    "allowed_origins": st.lists(st.sampled_from(["*", "https://a.example", "http://[::1]:3000"]), max_size=2),
    "expires_at": st.sampled_from([None, "", "2030-01-31T00:00:00Z"]),
    "base_url": st.just("https://ghe.example/api/v3"),
    "start_port": st.integers(1, 2000),
    "end_port": st.integers(2000, 65535),
    "port": st.integers(0, 65535),
    "client_id": st.just("id"),
    "client_secret": st.just("secret"),
    "auth_config_file": st.none(),
}


def values(kind: Any, name: str) -> st.SearchStrategy[Any]:
    """Return plain values that are right for an option."""
    if name in SPECIAL:
        return SPECIAL[name]
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return st.none() | values(next(part for part in get_args(kind) if part is not type(None)), "")
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if dataclasses.is_dataclass(kind):
        return sections(kind)
    if origin is tuple:
        return st.lists(values(get_args(kind)[0], ""), max_size=2)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values(get_args(kind)[1], ""), max_size=2)
    numbers = {bool: st.booleans(), int: st.integers(1, 10**9), float: st.integers(1, 10**6).map(lambda n: n / 8)}
    paths = TEXT.map(lambda text: f"/x{text}")
    return numbers.get(kind, paths if kind is Path else TEXT)


def sections(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return trees of a section with all its options."""
    return st.fixed_dictionaries({name: values(entry.kind, name) for name, entry in options_of(kind).items()})


def tree_of(value: Any) -> Any:
    """Return typed options as the plain tree that they are written as."""
    if dataclasses.is_dataclass(value):
        return {name: tree_of(getattr(value, name)) for name in options_of(type(value))}
    if isinstance(value, Mapping):
        return {name: tree_of(inner) for name, inner in value.items()}
    return [tree_of(inner) for inner in value] if isinstance(value, tuple) else plain(value)


def loaded(content: bytes, environ: Mapping[str, str] | None = None) -> Any:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return load(Path(file.name), environ or {}, {}, cwd=HERE, home=HERE)


def settle_fences(tree: dict[str, Any]) -> None:
    """Change what does not go together: a network of its own without bubblewrap, sockets of other UNIX users."""
    sessions = tree["sessions"]
    if sessions["network"] in ("private", "none"):
        sessions["isolation"] = "bwrap"
    if sessions["isolation"] == "user":
        tree["agent_server_listen"] = "tcp"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sections(Config))
def test_any_valid_tree_loads_back_equal(tree: dict[str, Any]) -> None:
    """What was loaded, written as YAML and loaded again, is the same."""
    settle_fences(tree)
    first = loaded(yaml.safe_dump(tree, allow_unicode=True).encode()).config
    again = loaded(yaml.safe_dump(tree_of(first), allow_unicode=True).encode()).config
    assert again == first
    assert tree_of(first)["sessions"]["max_queued"] == tree["sessions"]["max_queued"]


def told(content: bytes, environ: Mapping[str, str] | None = None) -> None:
    """Load; a refusal names a path in each of its faults."""
    try:
        explain(loaded(content, environ), everything=True)
    except ConfigError as error:
        assert error.faults
        assert all(fault.path and fault.problem for fault in error.faults)
        assert str(error)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
@example(b"? !!set {a}")
@example(b"port: !!int '_'")
@example(b"port: .inf")
@example(b"port: 0x" + b"f" * 5000)
@example(b"a: !!binary '='")
@example(b"<<: 1")
def test_garbage_gives_no_traceback(content: bytes) -> None:
    """Whatever the file's bytes are, they load or are told."""
    told(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*options_of(Config), "persistence", "other"]), JSON, max_size=4))
def test_wrong_values_give_no_traceback(tree: dict[str, Any]) -> None:
    """Any value at any option loads or is told."""
    told(yaml.safe_dump(tree, allow_unicode=True).encode())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(leaves_of(Config))), st.text(max_size=12))
def test_any_variable_loads_or_is_told(path: str, text: str) -> None:
    """Any text in the variable of any option loads or is told."""
    told(b"", {"AGENTPROXY_" + path.upper().replace(".", "_"): text})
