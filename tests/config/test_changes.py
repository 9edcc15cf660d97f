"""What a reload finds: every option that changed, without its secrets, and whether a restart is needed."""

from __future__ import annotations

from pathlib import Path

from agentproxy.config import load
from agentproxy.config.changes import changes
from agentproxy.config.options import Config


def configured(tmp_path: Path, text: str) -> Config:
    """Return the configuration of a file with this text."""
    file = tmp_path / "agentproxy.yaml"
    file.write_text(text)
    return load(file, {}, {}, cwd=tmp_path, home=tmp_path, root=False).config


def test_nothing_changed(tmp_path: Path) -> None:
    """The same file twice is no change."""
    one = configured(tmp_path, "port: 81")
    assert changes(one, configured(tmp_path, "port: 81")) == []


def test_each_change_says_what_it_needs(tmp_path: Path) -> None:
    """A level of the log counts at once, a port after a restart."""
    before = configured(tmp_path, "port: 81\nlog: {level: info}")
    after = configured(tmp_path, "port: 82\nlog: {level: debug}")
    assert [str(one) for one in changes(before, after)] == [
        "port: 81 -> 82 (needs a restart)",
        'log.level: "info" -> "debug" (in force now)',
    ]


def test_no_secret_is_in_a_report(tmp_path: Path) -> None:
    """A changed key is named by its path only."""
    text = "auth: {enabled: true, static: {enabled: true, api_keys: [{key: %s, user_id: ann}]}}"
    found = changes(configured(tmp_path, text % ("a" * 32)), configured(tmp_path, text % ("b" * 32)))
    report = " ".join(map(str, found))
    assert "auth.static.api_keys: changed (in force now)" in report
    assert "aaaa" not in report
    assert "bbbb" not in report
