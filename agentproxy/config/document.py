"""The documents that are made from the tree of options: ``conf/agentproxy.yaml`` and the table of all options."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentproxy.config.fields import Option, leaves_of, options_of
from agentproxy.config.options import Config

BEGIN = "<!-- options: made by `python -m agentproxy.config.document` -->"
END = "<!-- end of options -->"

HEAD = """\
# agentproxy: every option, what it means and its default. Everything is commented out; take away the # of what you set.
# YAML or JSON. ${VAR} and ${VAR:-default} are replaced from the environment in every text, $$ stands for $.
# Every option can be set by a variable too: AGENTPROXY_PORT, AGENTPROXY_SESSIONS_MAX_QUEUED, ...
# `agentproxy config check` says what is wrong, `agentproxy config show` what holds and where it came from.
"""


def yaml_document() -> str:
    """Return the configuration file with every option, commented out."""
    return HEAD + "".join(_section(Config, 0))


def _section(kind: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, entry in options_of(kind).items():
        yield "\n" + "".join(f"{indent}# {line}\n" for line in _sentences(entry))
        if entry.is_section:
            yield f"{indent}#{name}:\n"
            yield from _section(entry.kind, depth + 1)
        else:
            yield f"{indent}#{name}: {_value(entry)}".rstrip() + "\n"


def _sentences(entry: Option) -> list[str]:
    meaning = entry.meaning
    unit = f" [{meaning.unit}]" if meaning.unit else ""
    lines = textwrap.wrap(f"{meaning.text}{unit}", 110, break_long_words=False, break_on_hyphens=False)
    if meaning.shown_default:
        lines.append(f"Default: {meaning.shown_default}.")
    if meaning.danger:
        lines += textwrap.wrap(f"DANGER: {meaning.danger}", 110, break_long_words=False, break_on_hyphens=False)
    return lines


def _value(entry: Option) -> str:
    return "" if entry.meaning.shown_default else json.dumps(plain(entry.default), ensure_ascii=False)


def plain(value: Any) -> Any:
    """Return a default as JSON data."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def options_table() -> str:
    """Return the Markdown table of all options."""
    lines = ["| Option | Default | Meaning |", "|---|---|---|"]
    for path, entry in leaves_of(Config).items():
        default = entry.meaning.shown_default or f"`{_value(entry)}`"
        lines.append(f"| `{path}` | {_cell(default)} | {_cell(' '.join(_sentences_for_table(entry)))} |")
    return "\n".join(lines) + "\n"


def _sentences_for_table(entry: Option) -> Iterator[str]:
    meaning = entry.meaning
    yield f"{meaning.text} ({meaning.unit})" if meaning.unit else meaning.text
    if meaning.danger:
        yield f"**{meaning.danger}**"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_table(document: str) -> str:
    """Return a Markdown document with the table of options renewed between its markers."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{options_table()}{END}{after}"


def write_documents(checkout: Path) -> None:
    """Renew both documents in a checkout."""
    (checkout / "conf" / "agentproxy.yaml").write_text(yaml_document(), encoding="utf-8")
    page = checkout / "docs" / "configuration.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_documents(Path(__file__).parent.parent.parent)
