"""``python -m agentproxy.embedded server [flags] -- COMMAND...`` and ``attach``: see :mod:`agentproxy.embedded.flags`."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from agentproxy.embedded.flags import FlagsError, parse
from agentproxy.embedded.lean import leave_out_tls
from agentproxy.embedded.openapi import document, downgraded


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    try:
        settings = parse(sys.argv[1:] if argv is None else argv, os.environ)
    except FlagsError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 1
    if argv is None:  # the process is ours alone
        leave_out_tls()
    if settings.subcommand == "attach":
        from agentproxy.embedded.attach import attach

        return attach(settings)
    if settings.exit:
        return 0
    if settings.print_openapi:
        sys.stdout.write(json.dumps(downgraded(document()), indent=2) + "\n")
        return 0
    from twisted.internet import reactor as installed

    from agentproxy.embedded.server import Server, StartError, write_end

    reactor: Any = installed
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        door = _door(settings.door_file, settings.door_fd)
        server = Server(reactor, settings, door, settings.initial_prompt or _piped())
    except (OSError, ValueError) as wrong:
        sys.stderr.write(f"{wrong}\n")
        write_end(settings.end_file, "failed", 1, {"code": None, "signal": None}, [str(wrong)])
        return 1
    try:
        server.start(os.environ)
    except (StartError, OSError) as failed:
        sys.stderr.write(f"{failed}\n")
        write_end(settings.end_file, "failed", 1, {"code": None, "signal": None}, [str(failed)])
        return 1
    reactor.callWhenRunning(_listen_to_signals, reactor, server)
    reactor.run(installSignalHandlers=True)
    return server.exit_status


def _listen_to_signals(reactor: Any, server: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_args: reactor.callFromThread(server.stop))
    signal.signal(signal.SIGUSR1, lambda *_args: reactor.callFromThread(server.save))


def _door(path: str, descriptor: int | None) -> str | None:
    """Return the door secret; its descriptor is closed and it is nowhere in the environment."""
    if descriptor is not None:
        with os.fdopen(descriptor, "rb") as file:
            secret = file.read().decode().strip()
    elif path:
        secret = Path(path).read_text(encoding="utf-8").strip()
    else:
        return None
    if not secret:
        raise ValueError("the door secret is empty")
    return secret


def _piped() -> str:
    """Return what is piped into standard input (to its end), "" for a terminal or ``/dev/null``."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return ""
    return sys.stdin.read()


if __name__ == "__main__":
    sys.exit(main())
