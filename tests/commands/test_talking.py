"""The command line as a person and a script use it, against a whole daemon."""

from __future__ import annotations

import json
import ssl
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.certificates import certificate
from tests.commands.conftest import Run
from tests.daemon import Daemon


def test_a_first_conversation(run: Run) -> None:
    """start prints an id; its first characters are enough for everything else; ask prints the answer alone."""
    session = run("start", "-t", "for=this test", "-d", "a title").output.strip()
    short = session[:8]
    asked = run("ask", short, "how are you")
    assert (asked.exit_code, asked.stdout.strip()) == (0, "[1] You said: how are you")
    assert "answered" in run("send", short, "--wait", "answered", text="from stdin").output
    listed = run("list", "-t", "for=this test").output.splitlines()
    assert listed[0].split() == ["ID", "PHASE", "AGENT", "IS", "AGENT", "USER", "AGE", "DESCRIPTION"]
    assert listed[1].split()[:2] == [short, "ready"]
    assert listed[1].endswith("a title")
    assert "from stdin" in run("messages", short).output
    assert run("export", short).output.startswith("# a title")
    assert "session.ready" in run("events", short).output
    assert run("log", short).exit_code == 0
    assert "stopped by local" in run("stop", short).output
    assert "ready" in run("restart", short).output
    assert run("delete", short).output.strip() == f"{session} deleted"
    assert run("show", session).exit_code == 1


def test_json_for_programs(run: Run) -> None:
    """--json prints one JSON value and nothing else."""
    session = json.loads(run("start", "--json").stdout)["session_id"]
    shown = json.loads(run("show", session, "--json").stdout)
    assert (shown["session_id"], shown["phase"]) == (session, "ready")
    rows = [json.loads(line) for line in run("events", session, "--json").stdout.splitlines()]
    assert rows[0]["type"] == "session.queued"
    assert json.loads(run("delete", session, "--json").stdout)["status"] == "terminated"


def test_what_goes_wrong_is_one_sentence_and_a_status(run: Run) -> None:
    """1 for what the server refuses or cannot, 2 for a wrong command; nothing on stdout."""
    failed = run("start", "-a", "no-such-agent")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "no-such-agent" in failed.stderr
    told = json.loads(run("start", "-a", "no-such-agent", "--json").stderr)
    assert (told["code"], told["status"]) == ("invalid_request", 400)
    assert told["request_id"]
    assert "Did you mean 'list'?" in run("lst").stderr
    for words in (("show", "nope"), ("approvals", "nope", "allow")):
        none = run(*words)
        assert (none.exit_code, none.stdout, "begins with 'nope'" in none.stderr) == (1, "", True)
    assert json.loads(run("stop", "nope", "--json").stderr)["code"] == "session_not_found"
    assert run("start", "-t", "no equals sign").exit_code == 2
    gone = run("list", AGENTPROXY_URL="http://127.0.0.1:1")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "agentproxy doctor" in gone.stderr


def test_a_certificate_that_is_not_trusted_is_told_as_that(run: Run, tmp_path: Path) -> None:
    """The sentence names what to set, and does not guess that no server runs."""
    key, chain = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        refused = run("list", AGENTPROXY_URL=f"https://localhost:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert (refused.exit_code, "SSL_CERT_FILE" in refused.stderr) == (1, True)
    assert "doctor" not in refused.stderr


def test_a_start_that_fails_says_where(run: Run) -> None:
    """The step, the last lines, and the same later in show; the status is 1."""
    failed = run("start", "-r", "https://127.0.0.1:1/none.git")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "\n  at the step: clone\n  | Cloning into" in failed.stderr
    listed = run("list", "--status", "inactive", "--json").stdout
    shown = run("show", json.loads(listed)["sessions"][0]["session_id"]).output
    assert "at the step  clone\n  | Cloning into" in shown


def test_a_chat_ends_with_ctrl_d_and_the_session_goes_on(run: Run) -> None:
    """Each line is a message, the answer is printed, end of input leaves."""
    session = run("start").output.strip()
    talked = run("chat", session[:8], text="good morning\n")
    assert "You said: good morning" in talked.output
    assert "ready" in run("show", session).output
    run("delete", session)


def test_a_login_is_kept_for_its_owner_only(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """login tries the address, keeps it, and the next command needs no option."""
    url = f"http://127.0.0.1:{daemon.port}"
    assert "as local" in run("login", url, "--key", "", AGENTPROXY_URL=None).output
    kept = tmp_path / "agentproxy" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert run("list", AGENTPROXY_URL=None).exit_code == 0
    run("logout")
    assert not kept.exists()


def test_the_peer_s_commands(run: Run, daemon: Daemon) -> None:
    """agentapi-proxy's own words for one session."""
    session = run("start", "--wait", "stable").output.strip()
    there = ("client", "-e", f"http://127.0.0.1:{daemon.port}", "-s", session)
    assert run(*there, "status").output == "Agent Status: stable\n"
    assert run(*there, "send", "hello").output == "Message sent successfully\n"
    assert run(*there, "history").output.startswith("Conversation History (")
    run("delete", session)
    gone = run(*there, "--json", "status")
    assert (gone.exit_code, json.loads(gone.stderr)["code"]) == (1, "session_not_found")
    nobody = run("client", "-e", "http://127.0.0.1:1", "-s", session, "status")
    assert (nobody.exit_code, "does not answer" in nobody.stderr) == (1, True)


def test_sharing_and_approvals(run: Run) -> None:
    """A link to send to somebody, and what agents wait for."""
    session = run("start").output.strip()
    assert "/s/" in run("share", session).output
    assert run("share", session, "--revoke").output.strip() == "revoked"
    assert run("approvals").output.split() == ["ID", "SESSION", "WHAT", "ANSWERS"]
    run("delete", session)


def test_an_approval_is_answered_from_the_command_line(run: Run) -> None:
    """What the agent asks leave for is listed with its answers; allow lets it go on."""
    session = run("start", "--wait", "stable").output.strip()
    run("send", session, "approve ls")
    waiting = []
    while not waiting:
        waiting = json.loads(run("approvals", "--json").stdout)["approvals"]
    answered = run("approvals", waiting[0]["approval_id"][:8], "allow")
    assert answered.exit_code == 0, answered.output
    run("delete", session)
