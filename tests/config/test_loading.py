"""The configuration: where it is found, what overrides what, and how mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentproxy.config import ConfigError, Loaded, load


class Place:
    """A working directory and a home of a test."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "cwd"
        self.home = folder / "home"
        self.cwd.mkdir()
        self.home.mkdir()

    def load(
        self,
        content: str | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> Loaded:
        path = None
        if content is not None:
            path = self.cwd / "given.yaml"
            path.write_text(content)
        return load(path, environ or {}, overrides or {}, cwd=self.cwd, home=self.home)

    def faults(self, content: str, environ: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(content, environ)
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_configured(place: Place) -> None:
    """Without a file the server listens on this machine only and keeps data in the user's state folder."""
    loaded = place.load()
    assert (loaded.config.listen, loaded.config.port, loaded.path) == ("127.0.0.1", 8080, None)
    assert loaded.config.data_dir == place.home / ".local/state/agentproxy"
    assert set(loaded.sources.values()) == {"default"}


def test_root_keeps_data_in_var_lib(place: Place) -> None:
    """As root the data is in /var/lib, unless XDG_STATE_HOME says otherwise."""
    loaded = load(None, {}, {}, cwd=place.cwd, home=place.home, root=True)
    assert loaded.config.data_dir == Path("/var/lib/agentproxy")


def test_long_data_dir_leaves_room_for_sockets(place: Place) -> None:
    """A long data folder does not make UNIX socket paths too long."""
    loaded = place.load(environ={"AGENTPROXY_DATA_DIR": "/" + "x" * 200})
    assert len(str(loaded.config.runtime_dir)) < 61


def test_file_in_the_working_directory(place: Place) -> None:
    """config.json in the working directory is found, before the user's file."""
    user = place.home / ".config/agentproxy"
    user.mkdir(parents=True)
    (user / "agentproxy.yaml").write_text("port: 1")
    assert place.load().config.port == 1
    (place.cwd / "config.json").write_text('{"start_port": 9100}')
    loaded = place.load()
    assert (loaded.config.start_port, loaded.config.port) == (9100, 8080)
    assert loaded.sources["start_port"] == "file"


def test_seed_configuration(place: Place) -> None:
    """The JSON that the documents of agentapi-proxy show works as it stands."""
    entry = {"key": "your-api-key", "user_id": "alice", "role": "admin", "permissions": ["*"]}
    static = {"enabled": True, "header_name": "X-API-Key", "api_keys": [entry]}
    oauth = {
        "client_id": "${GITHUB_CLIENT_ID}",
        "client_secret": "${GITHUB_CLIENT_SECRET}",
        "scope": "read:user read:org",
    }
    auth = {"enabled": True, "static": static, "github": {"enabled": True, "oauth": oauth}}
    loaded = place.load(json.dumps({"auth": auth}), {"GITHUB_CLIENT_ID": "a", "GITHUB_CLIENT_SECRET": "b"})
    assert loaded.config.auth.static.api_keys[0].permissions == ("*",)
    assert loaded.config.auth.github.oauth.client_secret == "b"


def test_flat_auth_of_older_files(place: Place) -> None:
    """The flat form of auth is understood, with a warning."""
    loaded = place.load("auth: {enabled: true, header_name: X-Mine, api_keys: [{key: k, user_id: u}]}")
    assert loaded.config.auth.static.enabled
    assert loaded.config.auth.static.header_name == "X-Mine"
    assert "auth.static" in loaded.warnings[0]


def test_keys_without_effect_are_said(place: Place) -> None:
    """Keys of the peer that change nothing here are accepted, and the start says so."""
    loaded = place.load("enable_multiple_users: true\npersistence: {enabled: true, backend: s3, anything: 1}\n")
    assert {warning.split()[0] for warning in loaded.warnings} == {"enable_multiple_users", "persistence"}


def test_mapping_file_replaces_the_mapping(place: Place) -> None:
    """auth_config_file replaces the mapping of GitHub teams whole."""
    (place.cwd / "teams.yaml").write_text("github: {user_mapping: {team_role_mapping: {org/core: {role: admin}}}}")
    loaded = place.load("auth_config_file: teams.yaml\nauth: {github: {user_mapping: {default_role: guest}}}")
    mapping = loaded.config.auth.github.user_mapping
    assert (mapping.default_role, mapping.team_role_mapping["org/core"].role) == ("user", "admin")


def test_the_order_of_sources(place: Place) -> None:
    """The command line wins over AGENTPROXY_, that over AGENTAPI_, that over the file."""
    environ = {"AGENTPROXY_PORT": "2", "AGENTAPI_START_PORT": "20", "AGENTPROXY_SESSIONS__MAX_QUEUED": "7"}
    loaded = place.load("port: 1\nstart_port: 10\nend_port: 60000", environ, {"port": "3"})
    config = loaded.config
    assert (config.port, config.start_port, config.end_port, config.sessions.max_queued) == (3, 20, 60000, 7)
    assert loaded.sources["port"] == "command line"
    assert loaded.sources["start_port"] == "AGENTAPI_START_PORT"
    assert loaded.sources["end_port"] == "file"


def test_lists_and_maps_from_the_environment(place: Place) -> None:
    """Lists are separated by commas or JSON, maps are JSON."""
    environ = {
        "ALLOWED_ORIGINS": "https://a.example, http://localhost:3000",
        "AGENTPROXY_TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "AGENTPROXY_AGENTS": '{"mine": {"command": ["my-agent", "-x"]}}',
    }
    config = place.load(environ=environ).config
    assert config.allowed_origins == ("https://a.example", "http://localhost:3000")
    assert config.trusted_proxies == ("10.0.0.0/8",)
    assert config.agents["mine"].command == ("my-agent", "-x")


def test_variables_in_texts(place: Place) -> None:
    """${VAR}, its default and $$ work in every text, for numbers too."""
    content = "port: ${PORT:-8111}\nagentapi_command: ${BIN}/agentapi$$\nscripts: {setup: '${BIN}/s.sh'}"
    config = place.load(content, {"BIN": "/opt"}).config
    assert (config.port, config.agentapi_command, config.scripts["setup"]) == (
        8111,
        "/opt/agentapi$",
        Path("/opt/s.sh"),
    )


def test_missing_variable_names_the_place(place: Place) -> None:
    """A variable that is not set stops the start, with path and name."""
    assert "auth.static.api_keys[0].key: the environment variable NOPE is not set" in place.faults(
        "auth: {static: {api_keys: [{key: '${NOPE}', user_id: u}]}}"
    )


def test_paths_start_where_they_are_written(place: Place) -> None:
    """Relative paths of the file start at its folder, ~ is the home."""
    folder = place.cwd / "etc"
    folder.mkdir()
    (folder / "c.yaml").write_text("scripts: {a: a.sh, b: ~/b.sh}")
    scripts = load(Path("etc/c.yaml"), {"AGENTPROXY_DATA_DIR": "d"}, {}, cwd=place.cwd, home=place.home).config
    assert dict(scripts.scripts) == {"a": folder / "a.sh", "b": place.home / "b.sh"}
    assert scripts.data_dir == place.cwd / "d"


def test_all_mistakes_at_once(place: Place) -> None:
    """Every mistake is named with path, value, expectation and the nearest right key."""
    said = place.faults(
        "prot: 1\nport: many\nsessions: {max_queed: 3, on_shutdown: kep, stop_grace: -1}\nmax_queued: 4\n"
        "trusted_proxies: [10.0.0.0/99]\nlisteners: [{faces: [xapi]}]\n"
    )
    assert "prot: is not an option. Did you mean port?" in said
    assert "port: expected a whole number, found 'many'" in said
    assert "sessions.max_queed: is not an option. Did you mean sessions.max_queued?" in said
    assert "sessions.on_shutdown: expected stop or keep, found 'kep'. Did you mean keep?" in said
    assert "sessions.stop_grace: expected a number of 0 or more, found -1" in said
    assert "\n  max_queued: is not an option. Did you mean sessions.max_queued?" in said
    assert "trusted_proxies: expected addresses or networks" in said
    assert "listeners[0].endpoint: is missing" in said


def test_secrets_are_not_shown(place: Place) -> None:
    """A wrong value at the place of a secret is not repeated."""
    said = place.faults(
        "auth: {static: {api_keys: [{key: 12345678, user_id: u}]}, github: {oauth: hunter2}}\n"
        "agents: {x: {environment: {TOKEN: 87654321}}}\nstore: {url: [hunter2]}"
    )
    assert not any(secret in said for secret in ("12345678", "87654321", "hunter2"))
    assert "auth.static.api_keys[0].key: expected a text in quotes, found ***" in said


@pytest.mark.parametrize("content", ["port: 1\nport: 2\n", '{"port": 1, "port": 2}', "log: {level: info, level: warn}"])
def test_a_key_twice_is_refused(place: Place, content: str) -> None:
    """A key that stands twice is refused, because only one of the two could hold."""
    assert "stands twice" in place.faults(content)


@pytest.mark.parametrize(
    "content", ["[1]", "{", "a: &x [*x]", "? [1]\n: 2", "1: 2", "\t{", "port: !!int ''", "%", "a: !!python/x 1"]
)
def test_garbage_is_told(place: Place, content: str) -> None:
    """What is no configuration is said, with the file's name."""
    assert "given.yaml" in place.faults(content)


def test_missing_file(place: Place) -> None:
    """A file that was named and is not there stops the start."""
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read: No such file"):
        load(Path("nowhere.yaml"), {}, {}, cwd=place.cwd, home=place.home)


def test_unknown_variables(place: Place) -> None:
    """An unknown AGENTPROXY_ variable stops the start, an unknown AGENTAPI_ one only warns."""
    assert "AGENTPROXY_PROT: is not an option. Did you mean AGENTPROXY_PORT?" in place.faults(
        "", {"AGENTPROXY_PROT": "1"}
    )
    loaded = place.load(environ={"AGENTAPI_ALLOWED_HOSTS": "*", "AGENTPROXY_SESSION_ID": "x"})
    assert loaded.warnings == ("The environment variable AGENTAPI_ALLOWED_HOSTS has no effect on agentproxy.",)


def test_a_wrong_variable_is_named(place: Place) -> None:
    """A wrong value from the environment says from which variable it came."""
    assert "port (from AGENTPROXY_PORT): expected a port from 0 to 65535, found '70000'" in place.faults(
        "", {"AGENTPROXY_PORT": "70000"}
    )


@pytest.mark.parametrize(
    "content",
    ["listen: 0.0.0.0", "listen: ''", "listen: '::'", "listen: host.example", "listeners: [{endpoint: 'tcp:80'}]",
     "listeners: [{endpoint: 'systemd:domain=INET:index=0'}]", "listeners: [{endpoint: 'haproxy:tcp:80'}]"],
)  # fmt: skip
def test_open_without_authentication_does_not_start(place: Place, content: str) -> None:
    """Where other machines reach the server, authentication is on or its absence is written out."""
    assert "auth.enabled: authentication is off" in place.faults(content)
    assert place.load(f"{content}\nauth: {{allow_anonymous: true}}")
    assert place.load(f"{content}\nauth: {{enabled: true}}")


@pytest.mark.parametrize(
    "content",
    ["listen: 127.0.0.2", "listen: '::1'", "listen: localhost", "listeners: [{endpoint: 'unix:/run/x.sock'}]",
     "listeners: [{endpoint: 'tcp:80:interface=127.0.0.1'}]", r"listeners: [{endpoint: 'tcp6:80:interface=\:\:1'}]"],
)  # fmt: skip
def test_loopback_needs_no_authentication(place: Place, content: str) -> None:
    """On this machine alone the server starts without authentication."""
    assert place.load(content)


def test_port_beside_listeners_is_said(place: Place) -> None:
    """A port that has no effect is not silently ignored."""
    loaded = place.load("listeners: [{endpoint: 'unix:/run/x.sock'}]", overrides={"port": "1"})
    assert "port has no effect" in loaded.warnings[0]
