"""Cloning, with the real git where it can be had and a program in its place where a secret host would be needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from agentproxy.errors import Refusal
from agentproxy.model.repository import parse
from agentproxy.runtime.clone import Cloner, CloneRules
from agentproxy.runtime.steps import StepFailed

SETSID = shutil.which("setsid") or "setsid"
ENVIRONMENT = {"PATH": os.environ["PATH"]}
TOKEN = "ghs_verysecret"


def cloner(*roots: Path, git: str | None = None, timeout: float = 60, **variables: str) -> Cloner:
    """Return a cloner with the real git or a program in its place."""
    rules = CloneRules(roots=roots, timeout=timeout)
    environment = {**ENVIRONMENT, **variables}
    return Cloner(reactor, reactor, (SETSID, git or shutil.which("git") or "git"), rules, environment)


def program(path: Path, text: str) -> str:
    """Write a program that stands for git."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return the empty working directory of a session."""
    work = tmp_path / "session" / "work"
    work.mkdir(parents=True)
    return work


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a repository with one commit, on main and on dev."""
    source = tmp_path / "root" / "project"
    source.mkdir(parents=True)
    (source / "README").write_text("hello")
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"], ["branch", "dev"]):
        subprocess.run(["git", *name, *command], cwd=source, check=True, timeout=20)
    return source


@pytest_twisted.ensureDeferred
async def test_a_branch_of_a_local_repository(source: Path, work: Path) -> None:
    """The files are there, on the branch that was named; a second time nothing is touched."""
    repository = parse(f"file://{source}#dev")
    await cloner(source.parent).clone(repository, work, work.parent)
    (work / "README").write_text("changed")
    await cloner(source.parent).clone(repository, work, work.parent)
    assert (work / "README").read_text() == "changed"
    assert (work / ".git/HEAD").read_text() == "ref: refs/heads/dev\n"
    assert not list((work / ".git").glob("hooks/*"))


@pytest_twisted.ensureDeferred
async def test_local_repositories_only_under_the_roots(source: Path, work: Path, tmp_path: Path) -> None:
    """A path outside, and a link that leads outside, are refused."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link").symlink_to(source)
    for text in (str(source), str(tmp_path / "other/link")):
        with pytest.raises(Refusal, match=r"\$\.tags\.repository: .*configured root"):
            await cloner(tmp_path / "other").clone(parse(text), work, work.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest_twisted.ensureDeferred
async def test_a_repository_of_another_unix_user(source: Path, work: Path, tmp_path: Path) -> None:
    """It is not read unless the machine's own git configuration vouches for it; the failure says so."""
    for path in (source, *source.rglob("*")):
        os.chown(path, 12345, 12345)
    with pytest.raises(StepFailed, match=r"dubious ownership.*name it as safe\.directory in /etc/gitconfig"):
        await cloner(source.parent).clone(parse(str(source)), work, tmp_path)
    machine = tmp_path / "gitconfig"
    machine.write_text(f"[safe]\n\tdirectory = {source}/.git\n\tdirectory = {source}\n")
    await cloner(source.parent, GIT_CONFIG_SYSTEM=str(machine)).clone(parse(str(source)), work, tmp_path)
    assert (work / "README").read_text() == "hello"


@pytest_twisted.ensureDeferred
async def test_a_failure_tells_what_git_said(source: Path, work: Path) -> None:
    """The sentence, the exit status and the output are git's."""
    with pytest.raises(StepFailed, match="fatal: Remote branch none not found") as caught:
        await cloner(source.parent).clone(parse(f"{source}#none"), work, work.parent)
    assert caught.value.exit is not None
    assert caught.value.exit.code == 128
    assert caught.value.output


@pytest_twisted.ensureDeferred
async def test_the_token_answers_its_host_only(work: Path, tmp_path: Path) -> None:
    """Git gets the token by asking for it; it is in no argument and masked in the output; nothing stays."""
    ask = '"$GIT_ASKPASS" "Password for \'https://x-access-token@%s\': "'
    text = f'echo "args $*" >&2; {ask % "github.com"} > got; {ask % "evil.example"} > evil; cat got >&2; exit 3'
    git = program(tmp_path / "git", text)
    with pytest.raises(StepFailed) as caught:
        await cloner(git=git).clone(parse("o/n"), work, work.parent, TOKEN)
    assert (work.parent / "got").read_text() == f"{TOKEN}\n"
    assert (work.parent / "evil").read_text() == ""
    assert TOKEN not in "\n".join(caught.value.output)
    assert "***" in caught.value.output
    assert not (work.parent / "askpass").exists()


@pytest_twisted.ensureDeferred
async def test_other_hosts_never_get_the_token(work: Path, tmp_path: Path) -> None:
    """A repository elsewhere is cloned without the token."""
    git = program(tmp_path / "git", "env > got")
    await cloner(git=git).clone(parse("https://evil.example/o/n"), work, work.parent, TOKEN)
    assert TOKEN not in (work.parent / "got").read_text()


@pytest_twisted.ensureDeferred
async def test_the_deadline_ends_it(work: Path, tmp_path: Path) -> None:
    """A clone that hangs is ended with all that it started."""
    git = program(tmp_path / "git", "sleep 60 & wait")
    with pytest.raises(StepFailed, match=r"not done within 0\.2 s"):
        await cloner(git=git, timeout=0.2).clone(parse("o/n"), work, work.parent)


@pytest_twisted.ensureDeferred
async def test_cancelling_ends_git_first(work: Path, tmp_path: Path) -> None:
    """When the wait is over after a cancel, git and its children are gone: its pipes are closed."""
    git = program(tmp_path / "git", "sleep 60 & wait")
    running = Deferred.fromCoroutine(cloner(git=git).clone(parse("o/n"), work, work.parent))
    reactor.callLater(0.2, running.cancel)
    with pytest.raises(CancelledError):
        await running
