"""HOMEs and the files in them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.runtime.catalogue import HomeFile, load
from agentproxy.runtime.homes import Homes, safe_name
from agentproxy.runtime.steps import StepFailed

CLAUDE = load().agents["claude"].home
CODEX = load().agents["codex"].home


@given(st.text(max_size=150), st.text(max_size=150))
def test_names_are_safe_and_never_shared(one: str, other: str) -> None:
    """No two users share a HOME, and no name leads out of the folder."""
    first, second = safe_name(one), safe_name(other)
    assert (first.lower() == second.lower()) == (one == other)
    assert "/" not in first
    assert first.strip(".")
    assert len(first) < 200


@pytest_twisted.ensureDeferred
async def test_claude_asks_nothing(tmp_path: Path) -> None:
    """A new HOME answers Claude's first questions, and only the end of the key is written."""
    homes = Homes(tmp_path / "homes")
    home = homes.of("Ann@x.org")
    await homes.prepare(home, CLAUDE, {"WORK": "/w", "ANTHROPIC_API_KEY": "sk-secret-12345678901234567890"})
    text = (home / ".claude.json").read_text()
    found = json.loads(text)
    assert found["hasCompletedOnboarding"] is True
    assert found["projects"]["/w"]["hasTrustDialogAccepted"] is True
    assert found["customApiKeyResponses"]["approved"] == ["12345678901234567890"]
    assert "secret" not in text


@pytest_twisted.ensureDeferred
async def test_what_the_user_set_stays(tmp_path: Path) -> None:
    """A file that is there is merged into: the user's values and other sessions' directories stay."""
    homes = Homes(tmp_path)
    home = homes.of("ann")
    home.mkdir()
    (home / ".claude.json").write_text('{"theme": "light", "hasCompletedOnboarding": false, "projects": {"/old": {}}}')
    await homes.prepare(home, CLAUDE, {"WORK": "/w"})
    found = json.loads((home / ".claude.json").read_text())
    assert (found["theme"], found["hasCompletedOnboarding"]) == ("light", True)
    assert set(found["projects"]) == {"/old", "/w"}


@pytest_twisted.ensureDeferred
async def test_codex_gets_trust_and_a_provider(tmp_path: Path) -> None:
    """Codex's file is added to, its comments stay, and a second start changes nothing."""
    homes = Homes(tmp_path)
    home = homes.of("ann")
    (home / ".codex").mkdir(parents=True)
    config = home / ".codex/config.toml"
    config.write_text('# mine\nmodel = "m"\n[projects."/old"]\ntrust_level = "trusted"\n')
    facts = {"WORK": "/w", "OPENAI_API_KEY": "secret"}
    await homes.prepare(home, CODEX, facts)
    text = config.read_text()
    await homes.prepare(home, CODEX, facts)
    found = tomllib.loads(text)
    assert config.read_text() == text
    assert "# mine" in text
    assert "secret" not in text
    assert (found["model"], found["projects"]["/w"]["trust_level"]) == ("m", "trusted")
    assert found["model_providers"][found["model_provider"]]["base_url"] == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    "changed",
    [
        """[model_providers.openai-key]\nname = "mine"\nbase_url = 'http://old'  # ours\n[model_providers.b]\nbase_url = "http://b"\n""",
        """model_providers.openai-key.base_url = "http://old"\nmodel_providers.openai-key.name = "mine"\n"""
        """model_providers.b.base_url = "http://b"\n""",
        """[model_providers.b]\nbase_url = "http://b"\n[model_providers."openai-key"]\nname = "mine"\n""",
    ],
)
@pytest_twisted.ensureDeferred
async def test_each_start_gets_the_address_of_its_own_request(tmp_path: Path, changed: str) -> None:
    """A variable of the request counts although an earlier start wrote another; what the user changed beside it stays."""
    homes = Homes(tmp_path)
    home = homes.of("ann")
    (home / ".codex").mkdir(parents=True)
    config = home / ".codex/config.toml"
    config.write_text(f'# mine\nmodel_provider = "b"\n{changed}')
    for address in ("http://one/v1", 'http://two/"quoted"'):
        await homes.prepare(home, CODEX, {"WORK": "/w", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": address})
        found = tomllib.loads(config.read_text())
        assert found["model_providers"]["openai-key"]["base_url"] == address
        assert (found["model_provider"], found["model_providers"]["openai-key"]["name"]) == ("b", "mine")
        assert found["model_providers"]["b"] == {"base_url": "http://b"}
        assert "# mine" in config.read_text()
        assert ("# ours" in config.read_text()) == ("# ours" in changed)
    await homes.prepare(home, CODEX, {"WORK": "/w", "OPENAI_API_KEY": "k"})
    assert tomllib.loads(config.read_text())["model_providers"]["openai-key"]["base_url"] == "https://api.openai.com/v1"


@pytest_twisted.ensureDeferred
async def test_a_variable_in_json_counts_at_each_start(tmp_path: Path) -> None:
    """The value with the variable follows it; the user's own keys stay."""
    homes = Homes(tmp_path)
    home = homes.of("ann")
    files = [HomeFile("a.json", "json", {"server": {"url": "@URL@", "theme": "dark"}})]
    await homes.prepare(home, files, {"URL": "http://one"})
    (home / "a.json").write_text('{"server": {"url": "http://one", "theme": "light"}, "own": 1}')
    await homes.prepare(home, files, {"URL": "http://two"})
    assert json.loads((home / "a.json").read_text()) == {"server": {"url": "http://two", "theme": "light"}, "own": 1}
    await homes.prepare(home, files, {})
    assert json.loads((home / "a.json").read_text())["server"]["url"] == "http://two"


@pytest_twisted.ensureDeferred
async def test_links_are_left_alone(tmp_path: Path) -> None:
    """An agent that puts links into its HOME cannot make the server write elsewhere."""
    homes = Homes(tmp_path / "homes")
    home = homes.of("ann")
    home.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("{}")
    (home / ".claude.json").symlink_to(outside / "file")
    (home / ".codex").symlink_to(outside)
    await homes.prepare(home, [*CLAUDE, *CODEX], {"WORK": "/w"})
    assert [each.name for each in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "{}"


@pytest_twisted.ensureDeferred
async def test_a_broken_file_is_left_alone(tmp_path: Path) -> None:
    """A file that cannot be understood is not destroyed."""
    homes = Homes(tmp_path)
    home = homes.of("ann")
    home.mkdir()
    (home / ".claude.json").write_text("{broken")
    await homes.prepare(home, CLAUDE, {"WORK": "/w"})
    assert (home / ".claude.json").read_text() == "{broken"


@pytest_twisted.ensureDeferred
async def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    """The failure names the step and the reason."""
    (tmp_path / "file").write_text("")
    homes = Homes(tmp_path / "file")
    with pytest.raises(StepFailed, match=r"home: HOME cannot be prepared: (Not a directory|File exists)"):
        await homes.prepare(homes.of("ann"), CLAUDE, {})
