"""What an agent server printed."""

from __future__ import annotations

from pathlib import Path

from agentproxy.runtime.output import OutputLog


def test_last_lines_are_plain(tmp_path: Path) -> None:
    """Colours and cursor movements are not shown, empty lines neither."""
    log = OutputLog(tmp_path / "log")
    log.path.write_bytes(b"one\r\n\x1b[31mtwo\x1b[0m\n\n\x1b]0;title\x07three  ")
    assert log.last_lines(2) == ("two", "three")


def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    """A writer that keeps the file open goes on in the emptied one, and the tail spans both parts."""
    log = OutputLog(tmp_path / "log", limit=4)
    with log.path.open("ab", buffering=0) as writer:
        writer.write(b"first\n")
        assert log.rotate()
        assert not log.rotate()
        writer.write(b"more\n")
    assert log.size == 5
    assert log.last_lines() == ("first", "more")


def test_reading_on_gives_what_is_new(tmp_path: Path) -> None:
    """A reader gets what is printed behind the place that it has reached, and begins again when the log was emptied."""
    log = OutputLog(tmp_path / "log")
    log.path.write_bytes(b"old")
    end, offset = log.end(100)
    log.path.write_bytes(b"old new")
    assert (end, log.read_after(offset)) == (b"old", (b" new", 7))
    log.path.write_bytes(b"newer")
    assert log.read_after(7) == (b"newer", 5)
