"""Every command in README and docs is run, against the installed wheel, in an empty directory.

A page is one shell script: its fences with ``sh``, ``python`` and ``yaml`` in order, with variables that live on from one to
the next. A comment on the line before a fence says what is special about it:

``<!-- file: NAME -->``        its text is written to NAME
``<!-- goes on: TEXT -->``     it is started and goes on; the page continues when it has printed TEXT
``<!-- stops -->``             it ends what goes on; the page says how an operator does it, the test does it by itself
``<!-- prints -->``            its lines were printed by the fence before it; ``...`` is any text
``<!-- not run: REASON -->``   it cannot be run here

The port 8080 of the docs is one that is free. A ``curl -N`` is cut after some seconds, as a reader would do it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_packaging import environment, run
from tests.test_packaging import source as source
from tests.test_packaging import wheel as wheel

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("sh", "python")
FENCE = re.compile(
    r"(?:^[ \t]*<!-- (?P<mark>file|goes on|stops|prints|not run)(?:: (?P<said>[^\n]+?))? -->\n+)?"
    r"^(?P<indent>[ \t]*)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
CURL = """#!/bin/sh
for one in "$@"; do
    if [ "$one" = -N ]; then
        "{curl}" --max-time 3 "$@"
        status=$?
        [ $status = 28 ] && exit 0
        exit $status
    fi
done
exec "{curl}" "$@"
"""


@dataclass(frozen=True)
class Fence:
    """One fence of a page."""

    kind: str
    text: str
    mark: str
    said: str
    line: int


def fences(page: Path) -> Iterator[Fence]:
    """Yield the fences of a page, the ones in lists too."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        indent = found["indent"]
        lines = [line.removeprefix(indent) for line in found["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, found.start("kind")) + 1
        yield Fence(found["kind"], "".join(lines), found["mark"] or "", found["said"] or "", line)


def commands(page: Path) -> list[Fence]:
    """Return what is run of a page."""
    return [one for one in fences(page) if one.kind in RUN and one.mark not in ("not run", "file")]


def script(page: Path) -> str:
    """Return a page as a shell script; each fence prints its line first."""
    parts = ["set -eum", "trap 'for one in $(jobs -p); do kill -- -$one 2>/dev/null || true; done; wait' EXIT"]
    for one in fences(page):
        mark, said = one.mark, one.said
        if mark == "file":
            parts.append(f"cat > {shlex.quote(said)} <<'THE_END'\n{one.text}THE_END")
        elif one.kind not in RUN or mark == "not run":
            continue
        else:
            parts.append(f"echo '=== line {one.line}'")
            body = one.text if one.kind == "sh" else f"python - <<'THE_END'\n{one.text}THE_END\n"
            if mark == "stops":
                parts.append("for one in $(jobs -p); do kill -- -$one; done; wait || true")
            elif mark == "goes on":
                parts.append(f"{{\n{body}}} > goes-on.log 2>&1 &")
                ended = "kill -0 $! || { cat goes-on.log; exit 9; }"
                parts.append(f"until grep -q {shlex.quote(said)} goes-on.log; do {ended}; sleep 0.1; done")
            else:
                parts.append(body)
    return "\n".join(parts) + "\n"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programs of an environment with the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    programs = environment(folder / "env", wheel).parent
    if curl := shutil.which("curl"):
        (programs / "curl").write_text(CURL.format(curl=curl))
        (programs / "curl").chmod(0o755)
    return programs


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def missing(page: Path) -> list[str]:
    """Return the programs that a page uses and that are not installed here."""
    text = "".join(one.text for one in commands(page))
    return [name for name in ("curl", "git", "openssl") if re.search(rf"\b{name}\b", text) and not shutil.which(name)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
@pytest.mark.timeout(180)
def test_the_commands_of_a_page(page: Path, installed: Path, tmp_path: Path) -> None:
    """They work as they stand there, and print what the page says."""
    if absent := missing(page):
        pytest.skip(f"not installed: {', '.join(absent)}")
    port = str(free_port())
    kept = {name: os.environ[name] for name in ("LANG", "TERM", "SSL_CERT_DIR") if name in os.environ}
    variables = {
        **kept,
        "PATH": f"{installed}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AGENTPROXY_DATA_DIR": str(tmp_path / "data"),  # root's own place is the one of the machine
        "AGENTPROXY_PORT": port,
        "AGENTPROXY_URL": f"http://127.0.0.1:{port}",
    }
    text = script(page).replace("8080", port)
    work = tmp_path / "empty"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", text], cwd=work, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=170,
    )  # fmt: skip
    said = done.stdout
    log = (work / "goes-on.log").read_text() if (work / "goes-on.log").exists() else ""
    assert done.returncode == 0, f"{page.name} ends with {done.returncode}:\n{said[-3000:]}\n{log[-2000:]}"
    for number, expected in printed(page):
        output = said.partition(f"=== line {number}\n")[2].partition("\n=== line ")[0]
        for line in expected.splitlines():
            pattern = ".*".join(re.escape(part) for part in line.replace("8080", port).split("..."))
            found = re.search(r"\s*".join(pattern.split(r"\ ")), output)
            assert found, f"{page.name}:{number} does not print {line!r}, but:\n{output}"


def printed(page: Path) -> Iterator[tuple[int, str]]:
    """Yield what each fence should print: its line in the page, and the text."""
    last = 0
    for one in fences(page):
        if one.kind in RUN and one.mark not in ("not run", "file"):
            last = one.line
        elif one.mark == "prints":
            yield last, one.text


def test_reasons_are_given() -> None:
    """A fence is left out only with a reason, and there are few of them."""
    left_out = []
    for page in PAGES:
        for one in fences(page):
            if one.mark == "not run":
                assert len(one.said) > 10, f"{page.name}:{one.line} needs a reason"
                left_out.append(f"{page.name}:{one.line}: {one.said}")
    assert len(left_out) <= 12, "\n".join(left_out)


COMMANDS = "agentproxy|scripts/|curl|docker|twistd|systemctl|pip|python3?|export|git"
INDENTED = re.compile(rf"^(?: {{4}}|\t)(?:{COMMANDS}) ", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_stand_in_fences(page: Path) -> None:
    """A command that is only indented would not be run."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not INDENTED.findall(text), f"{page.name}: put commands between ```sh and ```"


def test_a_command_that_is_wrong_is_found(installed: Path, tmp_path: Path) -> None:
    """The test of the pages can fail: at a wrong command, and at another output."""
    page = tmp_path / "page.md"
    page.write_text("```sh\nagentproxy no-such-command\n```\n")
    (tmp_path / "one").mkdir()
    with pytest.raises(AssertionError, match="no-such-command"):
        test_the_commands_of_a_page(page, installed, tmp_path / "one")
    page.write_text("```sh\necho one\n```\n\n<!-- prints -->\n```text\ntwo\n```\n")
    (tmp_path / "two").mkdir()
    with pytest.raises(AssertionError, match="does not print 'two'"):
        test_the_commands_of_a_page(page, installed, tmp_path / "two")
    assert "agentproxy" in run(installed / "agentproxy", "--version", cwd=tmp_path)
