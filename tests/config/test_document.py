"""The documents that are made from the options, and what `agentproxy config` prints."""

from __future__ import annotations

import re
from pathlib import Path

from agentproxy.config import load
from agentproxy.config.document import with_table, yaml_document
from agentproxy.config.explain import explain
from agentproxy.config.fields import leaves_of
from agentproxy.config.options import Config
from agentproxy.config.variables import names

CHECKOUT = Path(__file__).parent.parent.parent
RENEW = "renew it: python -m agentproxy.config.document"


def test_the_example_file_is_current() -> None:
    """conf/agentproxy.yaml has every option as it is now."""
    assert (CHECKOUT / "conf/agentproxy.yaml").read_text() == yaml_document(), RENEW


def test_the_table_is_current() -> None:
    """docs/configuration.md lists every option as it is now."""
    page = (CHECKOUT / "docs/configuration.md").read_text()
    assert with_table(page) == page, RENEW
    assert all(f"| `{path}` |" in page for path in leaves_of(Config))


def test_the_example_file_says_the_defaults(tmp_path: Path) -> None:
    """Taking away every # of the example file changes nothing."""
    path = tmp_path / "all.yaml"
    path.write_text(re.sub(r"^( *)#(?! )", r"\1", yaml_document(), flags=re.MULTILINE))
    every = load(path, {}, {}, cwd=tmp_path, home=tmp_path)
    assert every.config == load(None, {}, {}, cwd=tmp_path, home=tmp_path).config


def test_every_option_has_one_variable() -> None:
    """No two options have the same variable."""
    assert len(names()) == len(leaves_of(Config))


def test_explain_names_sources_and_masks_secrets(tmp_path: Path) -> None:
    """The effective tree says where each value came from and shows no secret."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "auth: {static: {enabled: true, api_keys: [{key: s3cret, user_id: alice}]}}\n"
        "store: {url: 'postgresql://u:s3cret@h/n'}\nagents: {claude: {environment: {TOKEN: s3cret}}}"
    )
    loaded = load(path, {"AGENTPROXY_PORT": "81"}, {}, cwd=tmp_path, home=tmp_path)
    text = explain(loaded, everything=True)
    assert "port: 81  # AGENTPROXY_PORT" in text
    assert '"user_id": "alice"' in text
    assert '"TOKEN": "***"' in text
    assert "s3cret" not in text
    assert "listen" not in explain(loaded, everything=False)
