"""Docs against code: what is documented exists, and what exists is documented."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

from agentproxy import errors, web
from agentproxy.web.routing import routes_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_table_of_errors_is_the_one_of_the_code() -> None:
    """docs/errors.md holds exactly the table that errors.py makes; `python -m agentproxy.errors` prints it."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert errors.table() in text, "paste the output of `python -m agentproxy.errors` into docs/errors.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Every file of the project that a page names in back quotes exists."""
    named = re.findall(
        r"`((?:agentproxy|scripts|tests|conf|docs|twisted_plugins)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_every_route_is_documented_and_none_that_does_not_exist() -> None:
    """The table of docs/api.md has exactly the routes of the face."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", text, re.MULTILINE))
    routes = {f"{one.method} {re.sub(FIELD, field_name, one.path)}" for part in parts() for one in routes_of(part)}
    assert documented == routes


FIELD = r"<(?:\w+:)?(\w+)>"


def field_name(match: re.Match[str]) -> str:
    """Return how docs/api.md writes a field of a path: `:id` for a session's id, else `:` and its name."""
    return ":id" if match[1] == "session_id" else f":{match[1]}"


def parts() -> list[type]:
    """Return every class of the web package that has routes."""
    modules = [import_module(f"agentproxy.web.{one.name}") for one in pkgutil.iter_modules(web.__path__)]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return [one for one in found if one.__module__.startswith("agentproxy.web.") and list(routes_of(one))]


def test_the_reference_of_the_routes_is_the_one_of_the_code() -> None:
    """docs/routes.md is what the types say."""
    from agentproxy.web.reference import page

    text = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
    assert text == page(), "run python -m agentproxy.web.reference docs/routes.md"


def test_every_page_is_in_the_navigation() -> None:
    """mkdocs.yml leads to each page, and to none that is not there."""
    named = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert named - {"README.md"} == there


def test_the_reference_of_the_command_line_is_the_one_of_the_code() -> None:
    """docs/commands.md is what the commands say of themselves."""
    from agentproxy.commands.reference import document

    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert text == document(), "run python -m agentproxy.commands.reference docs/commands.md"
