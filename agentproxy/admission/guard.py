"""The guard of one server: builds what decides, gives the routes and the gateway their parts, and cuts whoever lost a right."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.http import Request

from agentproxy.admission.gateway import Admission
from agentproxy.auth.external import external
from agentproxy.auth.identity import Identity, Surroundings, roles_of
from agentproxy.auth.rechecking import Rechecking
from agentproxy.auth.showing import COOKIE, SESSION_HEADER
from agentproxy.config import ConfigError, Loaded, load
from agentproxy.config.options import StaticOptions
from agentproxy.errors import Refusal
from agentproxy.features.auditing import Audit, Auditor
from agentproxy.features.evening import Evening
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.permitting import Allowance, Permits
from agentproxy.features.routing import Directory
from agentproxy.features.sharing import Sharing
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.rules import CredentialRules
from agentproxy.model.audit import Attempt
from agentproxy.model.event import Event
from agentproxy.model.principal import Principal
from agentproxy.model.rate import Rate
from agentproxy.store import Store
from agentproxy.store.audit import AuditStore
from agentproxy.store.sharing import SharingStore
from agentproxy.web.asking import AskingRequest, identify
from agentproxy.web.identity import Identities
from agentproxy.web.oauth import Door, OAuth
from agentproxy.web.routing import Route
from agentproxy.web.sharing import Audits, Shares

LOOK_TWICE = 2.0  # seconds until a request that came with the change is looked at
LOOK_AGAIN = 10.0  # seconds between looks at what runs: a key may have expired


class Guard:
    """See the module."""

    log = Logger()

    def __init__(self, loaded: Loaded, store: Store, reactor: Any) -> None:
        self._clock = reactor
        self._loaded = loaded
        self._config = loaded.config
        self._store = store
        self._front: FrontFactory | None = None
        self._admission: Admission | None = None
        self._sharing: Sharing | None = None
        self._soon: IDelayedCall | None = None
        self._looking = False
        self._again = LoopingCall(self.look_again)
        self._again.clock = reactor
        self.auditor = Auditor(AuditStore(store), reactor)
        self.permits = Permits(self.auditor.note, reactor.seconds, allowance_of(self._config.auth.limits))
        around = Surroundings(reactor, self._read_options, loaded.path, self.auditor.note, self.look_soon)
        self._external = external(self._config.auth, reactor, roles_of(self._config), self.look_soon)
        self.identity = Identity(self._config, store, around, self._external.authenticators)
        if (tokens := self._external.tokens) is not None:
            tokens.known_here = lambda user: self.identity.registry.known(user, "github")
        self._rechecking = Rechecking(
            self.identity.registry,
            self._external.providers,
            reactor,
            self._config.auth.github.recheck_seconds,
            lambda login: self._note_login(login.owner, "auth.logout", True, "its provider does not know it any more"),
        )
        self._stop_listening: Callable[[], None] = lambda: None

    # -- start and stop

    async def start(self, sessions: VisibleSessions) -> Admission:
        """Read what is known of people and return the gateway's directory of *sessions*.

        :raises ValueError, OSError: the static keys are wrong.
        """
        self._sharing = sharing = Sharing(
            SharingStore(self._store), sessions, self.permits, self.identity.principals, self.look_soon
        )
        self.identity.also_load(sharing.load)
        await self.identity.start()
        self._rechecking.start()
        self._stop_listening = self._store.on_commit(self._committed)
        directory = Directory(sessions, self._store)
        self._admission = Admission(directory, self.identity.gatekeeper, self.permits, sharing, Evening(self._clock))
        self._sessions = sessions
        await self._welcome()
        return self._admission

    async def _welcome(self) -> None:
        config = self._config
        key = await self.identity.first_administrator()
        if key is not None:
            show_once(key, config.data_dir)
        places = [one.endpoint for one in config.listeners] or [f"{config.listen}:{config.port}"]
        self.log.info("{sentence}", sentence=self.identity.sentence(places))

    async def stop(self) -> None:
        """Watch no more and write what the audit has not written; twice does no harm."""
        self._stop_listening()
        self.identity.stop()
        self._rechecking.stop()
        if self._again.running:
            self._again.stop()
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        await self.auditor.stop()

    # -- what others need

    def parts(self) -> Sequence[object]:
        """Return the parts of the face."""
        assert self._sharing is not None
        return [
            Identities(self.identity.gatekeeper, self.identity.registry, self.permits, self._about),
            self._oauth(),
            Shares(self._sharing),
            Audits(Audit(AuditStore(self._store), self._sessions)),
        ]

    def _oauth(self) -> OAuth:
        auth = self._config.auth
        return OAuth(
            self._external.providers,
            self.identity.registry,
            auth.login_seconds,
            auth.github.oauth.redirect_uris,
            self._clock.seconds,
            self._rechecking.check,
            self._door(),
        )

    def _door(self) -> Door:
        gatekeeper = self.identity.gatekeeper

        def note(
            request: Request, user: str, verb: str, allowed: bool, reason: str, facts: Mapping[str, object]
        ) -> None:
            self._note_login(user, verb, allowed, reason, gatekeeper.address_of(AskingRequest.of(request)), facts)

        return Door(
            lambda request: gatekeeper.address_of(AskingRequest.of(request)),
            lambda request: gatekeeper.is_secure(AskingRequest.of(request)),
            lambda request: gatekeeper.same_origin(AskingRequest.of(request)),
            note,
        )

    def _note_login(
        self,
        user: str,
        verb: str,
        allowed: bool,
        reason: str,
        address: str = "",
        facts: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.auditor.note(Attempt(datetime.now(UTC), user, verb, allowed, reason, address=address, facts=facts))

    def _about(self, caller: Principal) -> tuple[str, Mapping[str, Any]]:
        """Return the kind of a caller's credential, in agentapi-proxy's words, and what GitHub said of the caller."""
        if caller.source == "github" and self._external.tokens is not None:
            user = self._external.tokens.user_behind(caller)
            return "github", {} if user is None else user.facts()
        login = self.identity.registry.login(caller.credential) if caller.source == "session" else None
        if login is not None:
            return ("github_oauth", login.facts) if login.provider == "github" else (login.provider, {})
        return "api_key" if caller.source in ("static", "token") else caller.source, {}

    async def identify(self, request: Request) -> Principal:
        """Return who asks.

        :raises Refusal: UNAUTHENTICATED and what else the gatekeeper says.
        """
        return await identify(self.identity.gatekeeper, request)

    def refused(self, caller: Principal, route: Route, refusal: Refusal) -> None:
        """Note in the audit what somebody may not do, other than to a session."""
        self.permits.note(caller, f"{route.method} {route.path}"[:64], None, False, str(refusal))

    def credentials(self) -> CredentialRules:
        """Return what the gateway removes from requests because it opens our own door."""
        rules = self.identity.gatekeeper.rules
        headers = {rules.key_header, SESSION_HEADER, *rules.other_headers, b"x-api-key"}
        return CredentialRules(frozenset(headers), frozenset({COOKIE}))

    def watch(self, front: FrontFactory) -> None:
        """Follow share links on this front, and cut what it runs for whoever lost a right."""
        assert self._admission is not None
        self._front = front
        front.follow = self._admission.follow
        if self._config.auth.enabled:
            self._again.start(LOOK_AGAIN, now=False).addErrback(
                lambda failure: self.log.failure("Open streams are not looked at again", failure)
            )

    def look_soon(self) -> None:
        """Look again as soon as what runs now has answered: a log-out must not cut its own answer."""
        if self._front is None or self._looking:
            return
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._looking = True
        self._soon = self._clock.callLater(0, self._look_twice)

    def _look_twice(self) -> None:
        """Look now, and once more at what has come just before and waits for something."""
        self._looking = False
        self._soon = self._clock.callLater(LOOK_TWICE, self.look_again)
        self.look_again()

    def look_again(self) -> None:
        """Cut every request and stream that would not be let in now."""
        if self._front is not None and self._admission is not None:
            self._front.recheck(self._admission.still_allowed)

    # -- what others tell

    def _committed(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.kind == "session.deleted" and self._sharing is not None:
                Deferred.fromCoroutine(self._sharing.forget(event.session_id)).addErrback(
                    lambda failure: self.log.failure("A deleted session is still shared", failure)
                )

    def _read_options(self) -> StaticOptions:
        """Read ``auth.static`` again. Blocking.

        :raises ValueError: the configuration is wrong now.
        """
        if self._loaded.path is None:
            return self._config.auth.static
        here, root = Path.cwd(), os.geteuid() == 0
        try:
            again = load(self._loaded.path, os.environ, {}, cwd=here, home=Path(os.path.expanduser("~")), root=root)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return again.config.auth.static


def allowance_of(limits: Any) -> Allowance:
    """Return what one principal may do of ``auth.limits``."""
    return Allowance(
        Rate.per_minute(limits.starts_per_minute) if limits.starts_per_minute else None,
        Rate.per_minute(limits.messages_per_minute) if limits.messages_per_minute else None,
        limits.sessions_per_user or None,
    )


def show_once(key: str, directory: Path) -> None:
    """Show the first administrator's key on the terminal, or leave it in a file when there is none to read it."""
    text = f"agentproxy: nobody could log in yet. The first administrator's key, shown only now: {key}"
    if os.fstat(2).st_rdev != os.stat(os.devnull).st_rdev:
        print(text, file=sys.__stderr__, flush=True)
        return
    path = directory / "first-administrator.key"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"{key}\n")
    Logger().warn("The first administrator's key is in {path}; take it and remove the file", path=str(path))
