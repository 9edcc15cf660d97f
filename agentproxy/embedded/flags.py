"""The command line, as agentapi's: every flag is also ``AGENTAPI_<NAME>`` in the environment, and the flag wins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn
from urllib.parse import urlsplit

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
    before = [f"{word}=true" if word in _SWITCHES else word for word in before or ["--help"]]
    given = _given(environment) if before[:1] == ["server"] else []
    found = parser.parse_args([*before[:1], *given, *before[1:]])
    found.command = after or getattr(found, "rest", [])
    _check(found)
    return found


ORIGINS = "http://localhost:3284,http://localhost:3000,http://localhost:3001"
_VARIABLES = ("type", "port", "host", "unix-socket", "chat-base-path", "term-width", "term-height", "allowed-hosts",
              "allowed-origins", "initial-prompt", "state-file", "load-state", "save-state", "pid-file", "print-openapi",
              "experimental-acp", "exit")  # fmt: skip
"""The flags that are variables too."""
_SWITCHES = ("--load-state", "--save-state", "--print-openapi", "-P", "--experimental-acp", "--exit")
"""The flags that may stand without a value, which the word behind them is not."""


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
    _add_agentapis(server)
    _add_ours(server)
    if command_is_rest:
        server.add_argument("rest", nargs="*", default=[], help="the agent's command")
    return parser


def _add_agentapis(server: argparse.ArgumentParser) -> None:
    flag = server.add_argument
    flag("-t", "--type", default="", help="the agent type; guessed from the command's name when left out")
    flag("-p", "--port", type=int, default=3284, help="the port to listen on (3284)")
    flag("-c", "--chat-base-path", default="/chat", help="where / leads to (/chat)")
    flag("-W", "--term-width", type=int, default=80, help="columns of the terminal (80)")
    flag("-H", "--term-height", type=int, default=1000, help="rows of the terminal (1000)")
    flag("-a", "--allowed-hosts", default="localhost,127.0.0.1,[::1]", help="comma list of Host names; * for all")
    flag("-o", "--allowed-origins", default=ORIGINS, help="comma list of origins whose pages may read; * for all")
    flag("-I", "--initial-prompt", default="", help="the first message; also what is piped into standard input")
    flag("-s", "--state-file", default="", help="file that the messages are kept in")
    _switch(server, "--load-state", default=None, help="load the state file at the start (yes, when there is one)")
    _switch(server, "--save-state", default=None, help="save the state file at the end (yes, when there is one)")
    flag("--pid-file", default="", help="file for the process id")
    _switch(server, "-P", "--print-openapi", default=False, help="print the description of the routes and end")
    _switch(server, "--experimental-acp", default=False, help="the agent speaks the Agent Client Protocol on its pipes")
    _switch(server, "--exit", default=False, help=argparse.SUPPRESS)


def _add_ours(server: argparse.ArgumentParser) -> None:
    flag = server.add_argument
    flag("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    flag("--unix-socket", default="", help="a UNIX socket (mode 0600) to listen on instead of a port")
    flag("--door-file", default="", help="file with the secret that every request must carry")
    flag("--door-fd", type=int, default=None, help="descriptor to read that secret from instead")
    flag("--end-file", default="", help="file that tells how it ended, as JSON")
    flag("--record", default="", help="file for a recording of the terminal (asciicast v2)")
    flag("--record-size", type=int, default=16 * 1024 * 1024, help="bytes after which the next file begins (16 MiB)")
    flag("--record-keep", type=int, default=3, help="older files that stay (3)")
    flag("--acp-session-file", default="", help="file with the id of the agent's session, to load it again (ACP only)")
    flag("--emulator", choices=EMULATORS, default="auto", help="the terminal emulator")
    flag("--stop-grace", type=float, default=5.0, help="seconds that a stopped agent may take (5)")


def _switch(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    parser.add_argument(*names, type=_truth, metavar="BOOL", **options)


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
        raise FlagsError("no agent command given; expected: server [flags] -- COMMAND...")
    if not 10 <= found.term_width <= 65535 or not 10 <= found.term_height <= 65535:
        raise FlagsError("the terminal's width and height must be from 10 to 65535")
    if not 0 <= found.port <= 65535:
        raise FlagsError(f"address {found.port}: invalid port")
    if not found.state_file and (found.load_state or found.save_state):
        raise FlagsError("--load-state and --save-state need --state-file")
    if found.record_size < 64 * 1024 or found.record_keep < 0:
        raise FlagsError("--record-size must be at least 65536, --record-keep at least 0")
    _check_acp(found)
    _check_hosts(found.allowed_hosts.split(","))
    _check_origins(found.allowed_origins.split(","))


def _check_acp(found: argparse.Namespace) -> None:
    if not found.experimental_acp:
        if found.acp_session_file:
            raise FlagsError("--acp-session-file needs --experimental-acp")
        return
    for name in ("print_openapi", "state_file", "record"):
        if getattr(found, name):
            flag = f"--{name.replace('_', '-')}"
            raise FlagsError(f"--experimental-acp and {flag} exclude each other: such an agent has no terminal to save")


def _check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts if any(hosts) else [""]:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if (not host and len(hosts) == 1) or any(c in "/ \t" for c in host) or (":" in host and bare == host):
            raise FlagsError(f"--allowed-hosts: expected host names without scheme, port and spaces, got {host!r}")


def _check_origins(origins: Sequence[str]) -> None:
    for origin in origins if any(origins) else [""]:
        if (not origin and len(origins) == 1) or any(c.isspace() for c in origin):
            raise FlagsError(f"--allowed-origins: expected origins such as https://example.com, got {origin!r}")
        try:
            urlsplit(origin)
        except ValueError as wrong:
            raise FlagsError(f"--allowed-origins: {wrong}: {origin!r}") from None
