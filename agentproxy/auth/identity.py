"""Everything that knows people, put together from the configuration: keys, tokens, log-ins, the gatekeeper over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.auth.authenticator import Authenticator
from agentproxy.auth.gatekeeper import DoorRules, Gatekeeper
from agentproxy.auth.hosts import Hosts
from agentproxy.auth.registry import Registry
from agentproxy.auth.static import Keys, StaticKey, StaticKeys, keys_of_file
from agentproxy.auth.watching import Watch, watch_files
from agentproxy.config import Config
from agentproxy.config.options import StaticOptions
from agentproxy.model.audit import Attempt
from agentproxy.model.cors import CorsRules
from agentproxy.model.permission import ROLES
from agentproxy.model.principal import LOCAL, SERVER, Principal
from agentproxy.model.rate import Rate, Rates
from agentproxy.store import Store
from agentproxy.store.identity import IdentityStore

FIRST = "admin"
Reader = Callable[[], StaticOptions]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What identity needs of the server around it.

    :param read_options: reads ``auth.static`` again from the configuration; blocks, raises ValueError when it is wrong.
    :param config_file: the configuration's file, watched for changed keys.
    :param note: takes an attempt for the audit.
    :param changed: told when somebody may have lost something.
    """

    clock: IReactorTime
    read_options: Reader
    config_file: Path | None
    note: Callable[[Attempt], None]
    changed: Callable[[], None]


class Identity:
    """See the module.

    :param others: further authenticators by their names in ``auth.order``.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        store: Store,
        around: Surroundings,
        others: Mapping[str, Authenticator] | None = None,
    ) -> None:
        self._config = config
        self._around = around
        self._identity_store = IdentityStore(store)
        self.roles = roles_of(config)
        self.registry = Registry(self._identity_store, self.roles, around.changed)
        self.static = StaticKeys(self._entries, self.roles, around.changed)
        known: dict[str, Authenticator] = {
            "token": self.registry.tokens,
            "session": self.registry.logins,
            **(others or {}),
        }
        if config.auth.static.enabled:
            known["static"] = self.static
        self.gatekeeper = Gatekeeper(
            door_rules(config),
            [known[name] for name in config.auth.order if name in known],
            Rates(_per_minute(config.auth.limits.failed_logins_per_minute), around.clock.seconds),
            self._refused,
        )
        self._watches: list[Watch] = []
        self._more: list[Callable[[], object]] = []

    def _entries(self) -> Iterable[StaticKey]:
        return entries_of(self._around.read_options())

    def _refused(self, address: str, why: str) -> None:
        self._around.note(Attempt(datetime.now(UTC), "", "auth.refused", False, why, address=address))

    async def start(self) -> None:
        """Read keys, accounts, tokens and log-ins, and go on watching them.

        :raises ValueError, OSError: the static keys are wrong.
        """
        store = Watch(self._identity_store.version, self.load, "The table of tokens", self._around.clock)
        self._watches.append(store)
        if self._config.auth.enabled and self._config.auth.static.enabled:
            await deferToThread(self._warn_of_readers)
            files = watch_files(self._files(), self.static.read, self._use, "The static keys", self._around.clock)
            self._watches.append(files)
            await files.start()
        await store.start()

    async def load(self) -> None:
        """Read again what the store has, for others that were told by :meth:`also_load` too."""
        await self.registry.load()
        for one in self._more:
            result = one()
            if hasattr(result, "__await__"):
                await result

    def also_load(self, load: Callable[[], object]) -> None:
        """Call *load* too, and wait for it, whenever the tables of identity have changed."""
        self._more.append(load)

    async def reload(self) -> None:
        """Look at once whether keys or tables have changed: SIGHUP."""
        for watch in self._watches:
            await watch.check()

    def stop(self) -> None:
        """Watch no more; twice does no harm."""
        for watch in self._watches:
            watch.stop()

    def _files(self) -> Sequence[Path]:
        paths = (self._around.config_file, self._config.auth.static.keys_file)
        return [path for path in paths if path is not None]

    def _warn_of_readers(self) -> None:
        """Say which files with keys other users of this machine can read. Blocking."""
        for path in self._files():
            with suppress(OSError):
                if path.stat().st_mode & 0o044:
                    self.log.warn("{path} holds keys, and other users can read it; chmod 600 shuts it", path=str(path))

    def _use(self, keys: Keys) -> None:
        self.static.use(keys)
        self.log.info("{count} static keys are known", count=len(self.static))

    # -- who there is

    def principals(self, user: str) -> list[Principal]:
        """Return what a user name stands for now, one for each of its keys, tokens and log-ins."""
        if not self._config.auth.enabled:
            return [LOCAL]
        known = [one.principals() for one in self.gatekeeper.authenticators if hasattr(one, "principals")]
        return [one for principals in known for one in principals if one.user_id == user]

    async def first_administrator(self) -> str | None:
        """Return the secret of a new administrator when authentication is on and nobody could log in, else None."""
        auth = self._config.auth
        if (
            not auth.enabled
            or len(self.registry.tokens)
            or auth.github.enabled
            or (auth.static.enabled and len(self.static))
        ):
            return None
        if self.registry.account(FIRST) is None:
            await self.registry.add_account(FIRST, role="admin")
        secret, _token = await self.registry.add_token(SERVER, "first administrator", FIRST)
        return secret

    def sentence(self, places: Sequence[str]) -> str:
        """Return the line at the start that says who can do what.

        :param places: where the server listens.
        """
        where = ", ".join(places)
        if not self._config.auth.enabled:
            return f"Authentication is off: whoever reaches {where} is the local administrator and may do everything"
        keys = (
            f"{len(self.static)} static keys, {len(self.registry.tokens)} tokens, {len(self.registry.logins)} log-ins"
        )
        return f"Authentication is on at {where}: {keys} open; everybody else gets 401"


def roles_of(config: Config) -> dict[str, frozenset[str]]:
    """Return the roles: the built-in ones with the configuration's over them."""
    return {**ROLES, **{name: frozenset(one.permissions) for name, one in config.auth.roles.items()}}


def door_rules(config: Config) -> DoorRules:
    """Return what the gatekeeper reads of a request, and whom it may come from."""
    auth = config.auth
    others = {auth.github.token_header.lower().encode("latin-1")} if auth.github.enabled else set()
    return DoorRules(
        auth.enabled,
        Hosts(config.allowed_hosts, strict=not auth.enabled),
        CorsRules(frozenset(config.allowed_origins) or None),
        auth.static.header_name.lower().encode("latin-1"),
        frozenset(others - {b"authorization"}),
        tuple(ip_network(one) for one in config.trusted_proxies),
    )


def entries_of(options: StaticOptions) -> list[StaticKey]:
    """Return the static keys of the configuration, or those of its ``keys_file``, which replaces them. Blocking.

    :raises ValueError, OSError: the file is wrong.
    """
    if options.keys_file is not None:
        return keys_of_file(options.keys_file)
    return [
        StaticKey(one.key, one.user_id, one.role, one.permissions, one.expires_at, one.teams)
        for one in options.api_keys
    ]


def _per_minute(count: int) -> Rate | None:
    return Rate.per_minute(count) if count else None
