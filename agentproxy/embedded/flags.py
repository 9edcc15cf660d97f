"""The command line, as agentapi's: every flag is also ``AGENTAPI_<NAME>`` in the environment, and the flag wins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn


class FlagsError(Exception):
    """The command line cannot be used; the text says why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagsError(message)


def _truth(text: str) -> bool:
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise argparse.ArgumentTypeError(f"invalid boolean {text!r}")
    return text.lower() in ("1", "t", "true")


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """Return the settings of ``server [flags] -- COMMAND...`` with the command in ``command``.

    :raises FlagsError: an unknown flag, a wrong value, or no command.
    """
    parser = _Parser(prog="agentproxy-embedded", allow_abbrev=False)
    server = parser.add_subparsers(dest="subcommand", required=True).add_parser("server", allow_abbrev=False)

    def flag(*names: str, **options: object) -> None:
        name = names[-1].lstrip("-").upper().replace("-", "_")
        if name and (given := environment.get(f"AGENTAPI_{name}")):
            options["default"] = ",".join(given.split()) if name.startswith("ALLOWED") else given
        server.add_argument(*names, **options)  # type: ignore[arg-type]

    flag("-t", "--type", default="")
    flag("-p", "--port", type=int, default=3284)
    flag("--host", default="127.0.0.1")
    flag("--unix-socket", default="")
    flag("-c", "--chat-base-path", default="/chat")
    flag("-W", "--term-width", type=int, default=80)
    flag("-H", "--term-height", type=int, default=1000)
    flag("-a", "--allowed-hosts", default="localhost,127.0.0.1,[::1]")
    flag("-o", "--allowed-origins", default="http://localhost:3284,http://localhost:3000,http://localhost:3001")
    flag("-I", "--initial-prompt", default="")
    flag("-s", "--state-file", default="")
    flag("--load-state", type=_truth, nargs="?", const=True, default=None)
    flag("--save-state", type=_truth, nargs="?", const=True, default=None)
    flag("--pid-file", default="")
    server.add_argument("-P", "--print-openapi", action="store_true")
    server.add_argument("--end-file", default="")
    server.add_argument("--door-file", default="")
    server.add_argument("--door-fd", type=int, default=None)
    before, after = list(argv), []
    if "--" in argv:
        cut = list(argv).index("--")
        before, after = list(argv[:cut]), list(argv[cut + 1 :])
    else:
        server.add_argument("rest", nargs="*", default=[])
    found = parser.parse_args(before)
    found.command = after or getattr(found, "rest", [])
    _check(found)
    return found


def _check(found: argparse.Namespace) -> None:
    if not found.command and not found.print_openapi:
        raise FlagsError("no agent command given")
    if not 10 <= found.term_width <= 65535 or not 10 <= found.term_height <= 65535:
        raise FlagsError("the terminal's width and height must be from 10 to 65535")
    if not 0 <= found.port <= 65535:
        raise FlagsError(f"address {found.port}: invalid port")
    if not found.state_file and (found.load_state or found.save_state):
        raise FlagsError("--load-state and --save-state need --state-file")
    hosts = found.allowed_hosts.split(",")
    if any(not host or "/" in host or " " in host for host in hosts):
        raise FlagsError("--allowed-hosts: each must be a host name without scheme, port and spaces")
