"""What the server's log looks like, and how much of it is written."""

from __future__ import annotations

import io
import json
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import FileLogObserver, ILogObserver, Logger, LogPublisher

from agentproxy import logs


def written(observer: ILogObserver) -> Logger:
    """Return a logger whose events go to one observer."""
    return Logger(namespace="agentproxy.test", observer=LogPublisher(observer))


def test_a_json_line_has_the_sentence_and_its_facts() -> None:
    """One object a line: time, level, logger, message, and the facts by name."""
    file = io.StringIO()
    written(logs.JsonLines(file)).warn("Session {session} ended\nbadly: {cause}", session="s1", cause="full")
    line = json.loads(file.getvalue())
    assert file.getvalue().count("\n") == 1
    assert (line["level"], line["logger"], line["message"]) == (
        "warn",
        "agentproxy.test",
        "Session s1 ended\nbadly: full",
    )
    assert (line["session"], line["facts"]) == ("s1", {"cause": "full"})
    assert line["time"].endswith("+00:00")


def test_a_failure_brings_its_traceback() -> None:
    """The reason of a failure is not lost in JSON."""
    file = io.StringIO()
    log = written(logs.JsonLines(file))
    try:
        raise ValueError("broken")
    except ValueError:
        log.failure("It failed")
    line = json.loads(file.getvalue())
    assert line["message"] == "It failed"
    assert "ValueError: broken" in line["failure"]


@given(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.binary()))
def test_any_fact_makes_one_line(text: str, value: object) -> None:
    """No text can begin a second line or break the first."""
    file = io.StringIO()
    written(logs.JsonLines(file)).info("{text} {value}", text=text, value=value)
    assert isinstance(json.loads(file.getvalue()), dict)
    assert len(file.getvalue().splitlines()) == 1


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_level_says_what_is_written(kind: str, tmp_path: Path) -> None:
    """Lines below the level are left out, in both forms, in the file that twistd was given."""
    options = SimpleNamespace(parent={"nodaemon": True, "logfile": str(tmp_path / "server.log")})
    observer = logs.observer(options, kind, "warn")
    assert observer is not None
    log = written(observer)
    log.info("of no interest")
    log.warn("of interest")
    text = (tmp_path / "server.log").read_text()
    assert "of interest" in text
    assert "of no interest" not in text


@pytest.mark.parametrize("parent", [None, {"logLevel": "info"}, {"nodaemon": True, "syslog": True}])
def test_others_keep_their_own_form(parent: dict[str, object] | None) -> None:
    """`twist`, and twistd with --syslog, write as they always do."""
    assert logs.observer(SimpleNamespace(parent=parent), "json", "info") is None


def test_the_level_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    """A reload makes the log say more, or less."""
    options = SimpleNamespace(parent={"nodaemon": True, "logfile": str(tmp_path / "server.log")})
    observer = logs.observer(options, "text", "warn")
    assert observer is not None
    log = written(observer)
    log.debug("before")
    observer.set_level("debug")
    log.debug("between")
    observer.set_level("error")
    log.warn("after")
    text = (tmp_path / "server.log").read_text()
    assert "between" in text
    assert "before" not in text
    assert "after" not in text


def test_ids_stand_where_they_are_found() -> None:
    """A line of a request has its id and its session, in JSON by name and in text behind the logger; its own ids win."""

    def both() -> tuple[dict[str, object], str]:
        logs.about(request="r1", session="s1")
        json_file, text_file = io.StringIO(), io.StringIO()
        written(logs.JsonLines(json_file)).info("Session {session} is ready", session="s2")
        written(FileLogObserver(text_file, logs.text_line)).info("Something happened")
        return json.loads(json_file.getvalue()), text_file.getvalue()

    line, text = copy_context().run(both)
    assert (line["request"], line["session"]) == ("r1", "s2")
    assert "facts" not in line
    assert text.endswith("[agentproxy.test#info request=r1 session=s1] Something happened\n")
