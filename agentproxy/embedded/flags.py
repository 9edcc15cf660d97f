"""The command line, as agentapi's: every flag is also ``AGENTAPI_<NAME>`` in the environment, and the flag wins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NoReturn

from agentproxy.embedded.emulator import NAMES as EMULATORS


class FlagsError(Exception):
    """The command line cannot be used; the text says why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagsError(message)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that costs as much as a start."""

    def __call__(self, parser: argparse.ArgumentParser, *_rest: object) -> None:
        sys.stdout.write(f"{_version()}\n")
        parser.exit()


def _truth(text: str) -> bool:
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise argparse.ArgumentTypeError(f"invalid boolean {text!r}")
    return text.lower() in ("1", "t", "true")


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """Return the settings of ``server [flags] -- COMMAND...`` with the command in ``command``.

    :raises FlagsError: an unknown flag, a wrong value, or no command.
    """
    before, after = list(argv), []
    if "--" in argv:
        cut = list(argv).index("--")
        before, after = list(argv[:cut]), list(argv[cut + 1 :])
    parser = _parser("--" not in argv)
    given = _given(environment) if before[:1] == ["server"] else []
    found = parser.parse_args([*before[:1], *given, *before[1:]])
    found.command = after or getattr(found, "rest", [])
    _check(found)
    return found


_VARIABLES = ("type", "port", "host", "unix-socket", "chat-base-path", "term-width", "term-height", "allowed-hosts",
              "allowed-origins", "initial-prompt", "state-file", "load-state", "save-state", "pid-file")  # fmt: skip
"""The flags that are variables too."""


def _given(environment: Mapping[str, str]) -> list[str]:
    """Return the flags that the environment gives, to stand in front of those of the command line."""
    flags = []
    for name in _VARIABLES:
        given = environment.get("AGENTAPI_" + name.upper().replace("-", "_"))
        if given:
            flags.append(f"--{name}={','.join(given.split()) if name.startswith('allowed') else given}")
    return flags


@cache
def _parser(command_is_rest: bool) -> _Parser:
    """Return the parser, made once: a forked server finds it made."""
    parser = _Parser(prog="agentproxy-embedded", allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0)
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    _add_attach(subcommands.add_parser("attach", allow_abbrev=False))
    server = subcommands.add_parser("server", allow_abbrev=False)
    flag = server.add_argument
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
    flag("-P", "--print-openapi", action="store_true")
    flag("--end-file", default="")
    flag("--record", default="")
    flag("--record-size", type=int, default=16 * 1024 * 1024)
    flag("--record-keep", type=int, default=3)
    flag("--emulator", choices=EMULATORS, default="auto")
    flag("--stop-grace", type=float, default=5.0)
    flag("--door-file", default="")
    flag("--door-fd", type=int, default=None)
    if command_is_rest:
        flag("rest", nargs="*", default=[])
    return parser


def _add_attach(attach: argparse.ArgumentParser) -> None:
    flag = attach.add_argument
    flag("-u", "--url", default="localhost:3284", help="where the agent server listens")
    flag("--unix-socket", default="", help="the UNIX socket where it listens instead")
    flag("--door-file", default="", help="file with the door secret")
    flag("--detach-key", default="ctrl-c", help="the key that leaves, such as ctrl-]; every other key is the agent's")
    flag("--resize", action="store_true", help="give the agent's terminal the size of this one")


def _version() -> str:
    """Return the text of ``--version``, with the release of agentapi whose contract this is."""
    from importlib.metadata import PackageNotFoundError, version  # dear, and only for this

    try:
        found = version("agentproxy")
    except PackageNotFoundError:
        found = "(not installed)"
    return f"agentproxy-embedded version {found} (contract of agentapi 0.12.1)"


def _check(found: argparse.Namespace) -> None:
    if found.subcommand == "attach":
        return
    if not found.command and not found.print_openapi:
        raise FlagsError("no agent command given")
    if not 10 <= found.term_width <= 65535 or not 10 <= found.term_height <= 65535:
        raise FlagsError("the terminal's width and height must be from 10 to 65535")
    if not 0 <= found.port <= 65535:
        raise FlagsError(f"address {found.port}: invalid port")
    if not found.state_file and (found.load_state or found.save_state):
        raise FlagsError("--load-state and --save-state need --state-file")
    if found.record_size < 64 * 1024 or found.record_keep < 0:
        raise FlagsError("--record-size must be at least 65536, --record-keep at least 0")
    hosts = found.allowed_hosts.split(",")
    if any(not host or "/" in host or " " in host for host in hosts):
        raise FlagsError("--allowed-hosts: each must be a host name without scheme, port and spaces")
