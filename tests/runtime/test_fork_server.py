"""Agent servers that are forked: as good as launched ones, and alive whatever happens to the fork server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from agentproxy.model.session import ExitStatus
from agentproxy.runtime import cgroups, fork_server
from agentproxy.runtime.launching import Executing, LaunchFailed
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.watching import read_end_record
from tests.runtime.forking import Forks
from tests.waiting import wait_for


@pytest_twisted.async_yield_fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    """A fork server."""
    running = Forks(tmp_path)
    yield running
    await running.close()


def _proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def _title(pid: int) -> str:
    return _proc(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ").decode()


def _pipes(pid: int) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {name for name in found if name.startswith(("pipe:", "socket:"))}


def _parent(pid: int) -> int:
    return int(_proc(pid, "stat").rpartition(b")")[2].split()[1])


async def _file(path: Path) -> str:
    return await deferToThread(wait_for, f"{path} is written", lambda: path.exists() and path.read_text())


@pytest_twisted.ensureDeferred
async def test_it_runs_alone(forks: Forks) -> None:
    """It has its own session, directory, input and log, no descriptor of ours, and ps says which session it is."""
    one = await forks.launch("cat")
    await one.answers()
    pid = one.watch.pid
    assert (os.getsid(pid), os.getpgid(pid), _parent(pid)) == (pid, pid, os.getpid())
    assert os.readlink(f"/proc/{pid}/cwd") == str(one.directory)
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)] == [
        "/dev/null",
        str(one.directory / "log"),
        str(one.directory / "log"),
    ]
    assert forks.server.pid is not None
    shared = _pipes(pid) & (_pipes(forks.server.pid) | _pipes(os.getpid()))
    assert not shared
    assert _title(pid) == "agentproxy session s1"
    assert f"AGENTPROXY_SESSION_MARKER={one.marker}".encode() in _proc(pid, "environ").split(b"\0")


@pytest_twisted.ensureDeferred
async def test_its_agent_sees_exactly_its_environment(forks: Forks) -> None:
    """Nothing of the daemon's or the fork server's environment reaches an agent, and its limits hold."""
    limits = Limits(files=77, memory=2 << 30)
    one = await forks.launch(
        "sh",
        "-c",
        "ulimit -n > limit; env > part; mv part out; cat",
        environment={"GREETING": "grüß\ndich"},
        limits=limits,
    )
    shown = await _file(one.directory / "out")
    assert "GREETING=grüß\ndich" in shown
    assert (one.directory / "limit").read_text() == "77\n"
    names = {line.partition("=")[0] for line in shown.splitlines() if "=" in line}
    assert names <= {"PATH", "AGENTPROXY_SESSION_MARKER", "GREETING", "TERM", "PWD", "OLDPWD", "SHLVL", "_"}
    assert forks.server.pid is not None
    for pid in (forks.server.pid, one.watch.pid):
        assert b"our secret" not in _proc(pid, "environ")


@pytest_twisted.ensureDeferred
async def test_how_it_ended_is_known(forks: Forks) -> None:
    """The exit status of its agent and the signal that killed it are told, and its own record says the same."""
    one = await forks.launch("sh", "-c", "echo bye; exit 3")
    two = await forks.launch("cat")
    assert await one.watch.when_ended() == ExitStatus(code=3)
    record = read_end_record(one.directory / "end.json")
    assert record is not None
    assert ExitStatus(code=3) in (record, getattr(record, "exit", None))
    os.kill(two.watch.pid, signal.SIGKILL)
    assert await two.watch.when_ended() == ExitStatus(signal="SIGKILL")


@pytest_twisted.ensureDeferred
async def test_where_the_kernel_makes_no_siblings(forks: Forks, tmp_path: Path) -> None:
    """An agent server that cannot be born where it shall be moves there, and is ours all the same."""
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").touch()
    one = await forks.launch("sh", "-c", "exit 3", cgroup=group)
    assert _parent(one.watch.pid) == os.getpid()
    assert (group / "cgroup.procs").read_text() == "0"
    assert await one.watch.when_ended() == ExitStatus(code=3)


@pytest_twisted.ensureDeferred
async def test_one_that_crashes_takes_no_other_with_it(forks: Forks) -> None:
    """Each is a process of its own."""
    one, two = await forks.launch("cat"), await forks.launch("cat")
    os.kill(one.watch.pid, signal.SIGSEGV)
    await one.watch.when_ended()
    await two.answers()
    assert forks.server.pid is not None
    os.kill(forks.server.pid, 0)


@pytest_twisted.ensureDeferred
async def test_what_cannot_run_says_why(forks: Forks, tmp_path: Path) -> None:
    """The reason is told in a sentence, or printed in the session's log, and the next one runs."""
    with pytest.raises(LaunchFailed, match="the directory /nowhere does not exist"):
        await forks.launch("cat", directory=Path("/nowhere"))
    with pytest.raises(LaunchFailed, match=r"the log /nowhere/log cannot be written: No such file"):
        await forks.launch("cat", log_path=Path("/nowhere/log"))
    with pytest.raises(LaunchFailed, match=r"the cgroup .* cannot be joined"):
        await forks.launch("cat", cgroup=tmp_path / "nogroup")
    missing = await forks.launch("nosuchprogram")
    assert await missing.watch.when_ended() == ExitStatus(code=1)
    assert "nosuchprogram" in missing.log
    await (await forks.launch("cat")).answers()


@pytest_twisted.ensureDeferred
async def test_the_death_of_the_fork_server_harms_nobody(forks: Forks) -> None:
    """Agent servers live on, the next start does without it, and it comes back by itself."""
    before = await forks.launch("cat")
    first = forks.server.pid
    await forks.kill()
    await deferToThread(wait_for, "the death is seen", lambda: forks.server.pid != first)
    meanwhile = await forks.launch("cat")
    await meanwhile.answers()
    await before.answers()
    await deferToThread(wait_for, "the fork server is back", lambda: forks.server.pid is not None)
    after = await forks.launch("cat")
    await after.answers()
    assert "python" in _title(meanwhile.watch.pid)
    assert _title(after.watch.pid) == "agentproxy session s1"
    assert forks.server.pid != first


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_replaced(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is not kept waiting by a fork server that does not answer."""
    await (await forks.launch("cat")).answers()
    monkeypatch.setattr(fork_server, "SILENCE", 0.2)
    hung = forks.server.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    one = await forks.launch("cat")
    await one.answers()
    assert "python" in _title(one.watch.pid)
    assert not Path(f"/proc/{hung}").exists()


@pytest_twisted.ensureDeferred
async def test_they_live_on_when_it_is_closed(forks: Forks) -> None:
    """The fork server ends with the daemon; its agent servers do not."""
    one = await forks.launch("cat")
    pid = forks.server.pid
    await forks.server.close()
    assert not Path(f"/proc/{pid}").exists()
    await one.answers()


@pytest_twisted.ensureDeferred
async def test_a_script_or_a_fence_in_front_is_executed(forks: Forks) -> None:
    """A fork becomes the program, alone: its session, its directory, its environment, no descriptor or signal of ours."""
    script = (
        'pwd; read line || echo no input; echo $(ls /proc/self/fd) $(cut -d" " -f5,6 /proc/$$/stat);'
        ' env | grep -v _MARKER; echo "$0|$1"; exit 7'
    )
    one = await forks.launch("x", argv=("sh", "-c", script, "a b", "$(id)"), environment={"A": "1 \n2 ä"})
    assert await one.watch.when_ended() == ExitStatus(code=7)
    pid = one.watch.pid
    where, nothing, alone, *rest = one.log.splitlines()
    assert (where, nothing, alone.split()) == (
        str(one.directory),
        "no input",
        [*"0123", str(pid), str(pid)],
    )  # 3 is the listing
    assert sorted(rest[:-1]) == sorted(["PATH=/usr/bin:/bin", "A=1 ", "2 ä", f"PWD={one.directory}"])
    assert rest[-1] == "a b|$(id)"
    # without a shell, which blocks all signals while it begins another program
    signals = await forks.launch("x", argv=("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"))
    assert await signals.watch.when_ended() == ExitStatus(code=0)
    libc_own = 1 << 31 | 1 << 32  # signals 32 and 33, which no program can set
    assert [int(line.split()[1], 16) & ~libc_own for line in signals.log.splitlines()] == [0, 0]


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_executed_says_why(forks: Forks) -> None:
    """A program that is not there is refused; one that the kernel does not take has its reason in the log."""
    with pytest.raises(LaunchFailed, match="nosuchprogram was not found in PATH"):
        await forks.launch("x", argv=("nosuchprogram",))
    odd = forks.directory / "odd"
    odd.write_text("#!/nowhere/to/be/found\n")
    odd.chmod(0o755)
    one = await forks.launch("x", argv=(str(odd),))
    assert await one.watch.when_ended() == ExitStatus(code=126)
    assert one.log == f"{odd} could not be run: No such file or directory\n"


@pytest.mark.parametrize("argv", [None, ("sleep", "600")])
@pytest_twisted.ensureDeferred
async def test_it_is_born_in_its_cgroup(forks: Forks, argv: tuple[str, ...] | None) -> None:
    """An agent server, embedded or not, is in its cgroup from its first moment."""
    root = cgroups.find_root()
    if root is None or (group := cgroups.Cgroups(root).make(f"test-{uuid.uuid4()}")) is None:
        pytest.skip(cgroups.CANNOT_PROMISE)
    try:
        one = await forks.launch("cat", cgroup=group, **({"argv": argv} if argv else {}))
        assert one.watch.pid in cgroups.members(group)
        cgroups.kill(group)
        await one.watch.when_ended()
        one.watch.reap()
    finally:
        await deferToThread(wait_for, "the group is empty", lambda: cgroups.remove(group))


@pytest_twisted.ensureDeferred
async def test_many_starts_leave_nothing_open(forks: Forks) -> None:
    """The fork server keeps no descriptor and no child of what it has started."""
    await forks.launch("cat")
    pid = forks.server.pid
    for _round in range(10):
        await forks.launch("cat")
    children = Path(f"/proc/{pid}/task/{pid}/children")
    await deferToThread(
        wait_for,
        "nothing is left of the starts",
        lambda: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"] and children.read_text() == "",
    )


@pytest.mark.parametrize("forked", [True, False])
@pytest_twisted.ensureDeferred
async def test_modules_of_the_session_are_not_imported(forks: Forks, tmp_path: Path, forked: bool) -> None:
    """A repository or an environment with modules of our names changes nothing in an agent server."""
    for name in ("agentproxy", "signal", "encodings"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the session')")
    if not forked:
        forks.launcher = Executing()
    one = await forks.launch("cat", directory=tmp_path, environment={"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/x"})
    await one.answers()
    assert "taken from the session" not in one.log


LOADED = """
import sys
from agentproxy.embedded import fork_server
fork_server.load()
before = set(sys.modules)
import tempfile
from pathlib import Path
from twisted.internet import reactor
from agentproxy.embedded.__main__ import main
end = Path(tempfile.mkdtemp(), "end")
main(["server", "--port=0", "--type=custom", f"--end-file={end}", "--", "echo", "hello"])
assert end.exists()
print(*sorted(set(sys.modules) - before - {"twisted.internet.reactor"}))
"""


def test_everything_is_imported_before_the_fork() -> None:
    """A forked agent server imports nothing more, and there is no reactor before it is forked."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
