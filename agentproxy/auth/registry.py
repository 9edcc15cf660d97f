"""Accounts, API tokens and log-ins: made, listed and revoked; in memory for the next request, in the store for the next start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.logger import Logger

from agentproxy.auth.ring import Key, Ring
from agentproxy.errors import ACCOUNT_NOT_FOUND, FORBIDDEN, INVALID_REQUEST, Refusal
from agentproxy.model.credentials import LOGIN_PREFIX, Account, Login, Token, digest, is_name, new_id, new_secret
from agentproxy.model.permission import ROLES, covers, effective, may, problem
from agentproxy.model.principal import SERVER, Principal
from agentproxy.store.identity import IdentityStore

LONGEST_LOGIN = timedelta(days=30)
"""After that somebody has to log in again, however often it was refreshed."""
_SESSION_PLACES = frozenset({"session", "cookie", "bearer"})


class Registry:
    """Who is known by the store.

    :param roles: role to permissions.
    :param changed: told after each change, so that streams of whoever lost something are cut.
    :ivar tokens: the authenticator of API tokens.
    :ivar logins: the authenticator of log-ins.
    """

    _log = Logger()

    def __init__(
        self,
        store: IdentityStore,
        roles: Mapping[str, frozenset[str]] = ROLES,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._roles = roles
        self._changed = changed
        self._accounts: dict[str, Account] = {}
        self._tokens: dict[str, Token] = {}
        self._logins: dict[str, Login] = {}
        self._edits = 0
        self.tokens = Ring((("api_key", "API Key"),))
        self.logins = Ring((), _SESSION_PLACES)

    async def load(self) -> None:
        """Read everything; once more when something was changed here meanwhile, which what was read may not know yet."""
        edits = -1
        while edits != self._edits:
            edits = self._edits
            accounts = await self._store.accounts()
            tokens = await self._store.tokens()
            logins = await self._store.logins(datetime.now(UTC))
        self._accounts = {one.name: one for one in accounts}
        self._tokens = {one.id: one for one in tokens}
        self._logins = {one.id: one for one in logins}
        self._refresh()

    def _refresh(self) -> None:
        tokens = {one.hash: self._token_key(one) for one in self._tokens.values() if self._enabled(one.owner)}
        logins = {one.hash: self._login_key(one) for one in self._logins.values() if self._opens(one)}
        if self.tokens.replace(tokens) | self.logins.replace(logins):
            self._changed()

    def _enabled(self, owner: str) -> bool:
        account = self._accounts.get(owner)
        return account is None or account.disabled_at is None

    def _opens(self, login: Login) -> bool:
        account = self._accounts.get(login.owner)
        return account is None or (account.disabled_at is None and account.login == login.provider)

    def known(self, user: Principal, provider: str) -> Principal | None:
        """Return whom a user of a provider is here, None for nobody.

        The name of an account is not for whoever has it elsewhere: only where the account says so is it the same person, with
        the role that the account has.
        """
        account = self._accounts.get(user.user_id)
        if account is None:
            return user
        if account.disabled_at is not None or account.login != provider:
            self._log.warn(
                "{user} of {provider} is refused: there is an account of this name that is not for log-ins with {provider}",
                user=user.user_id,
                provider=provider,
            )
            return None
        permissions = effective(account.role, account.permissions, self._roles)
        return replace(user, role=account.role, permissions=permissions, teams=user.teams | frozenset(account.teams))

    def _token_key(self, token: Token) -> Key:
        of: Account | Token = self._accounts.get(token.owner, token)
        principal = Principal(
            token.owner,
            of.role,
            effective(of.role, of.permissions, self._roles),
            frozenset(of.teams),
            "token",
            token.id,
            scopes=None if token.scopes is None else frozenset(token.scopes),
        )
        return Key(principal, None if token.expires_at is None else token.expires_at.timestamp())

    def _login_key(self, login: Login) -> Key:
        permissions = effective(login.role, login.permissions, self._roles)
        user = Principal(login.owner, login.role, permissions, frozenset(login.teams), "session", login.id)
        return Key(
            self.known(user, login.provider) or replace(user, permissions=frozenset()), login.expires_at.timestamp()
        )

    # -- accounts

    def account(self, name: str) -> Account | None:
        """Return the account of a name."""
        return self._accounts.get(name)

    def accounts(self) -> Sequence[Account]:
        """Return every account, by name."""
        return sorted(self._accounts.values(), key=lambda one: one.name)

    async def add_account(
        self,
        name: str,
        kind: str = "user",
        role: str = "user",
        permissions: Sequence[str] = (),
        teams: Sequence[str] = (),
        login: str = "",
        by: Principal = SERVER,
    ) -> Account:
        """Make an account.

        :param login: the provider whose users of this name it is for.
        :raises Refusal: INVALID_REQUEST or ACCOUNT_EXISTS; FORBIDDEN, it would have more than its maker.
        """
        account = Account(name, datetime.now(UTC), kind, role, tuple(permissions), tuple(teams), by.user_id, login)
        check_account(name, role, permissions, self._roles)
        self._check_covered(by, account)
        await self._store.add_account(account)
        self._accounts[name] = account
        self._edits += 1
        self._refresh()
        return account

    def _check_covered(self, by: Principal, account: Account) -> None:
        """Check that nobody gives, takes or uses what they do not have themselves.

        :raises Refusal: FORBIDDEN.
        """
        if not covers(by, effective(account.role, account.permissions, self._roles)):
            raise Refusal(
                FORBIDDEN, f"{account.name} may do more than you: only who may do as much can change or use it"
            )

    async def change_account(self, name: str, by: Principal = SERVER, **changes: object) -> Account:
        """Change role, permissions, teams, log-in, or ``disabled_at`` of an account; it counts in the next request.

        :raises Refusal: ACCOUNT_NOT_FOUND; FORBIDDEN, it has or would have more than whoever changes it.
        """
        before = self._accounts.get(name)
        if before is None:
            raise Refusal(ACCOUNT_NOT_FOUND, name)
        wanted = replace(before, **changes)  # type: ignore[arg-type]
        check_account(name, wanted.role, wanted.permissions, self._roles)
        self._check_covered(by, before)
        self._check_covered(by, wanted)
        self._accounts[name] = await self._store.change_account(name, **changes)
        self._edits += 1
        self._refresh()
        return self._accounts[name]

    # -- tokens

    def list_tokens(self, owner: str | None = None) -> Sequence[Token]:
        """Return the tokens that are not revoked, oldest first; only those of *owner* if given."""
        return [one for one in self._tokens.values() if owner in (None, one.owner)]

    async def add_token(
        self,
        maker: Principal,
        name: str,
        owner: str | None = None,
        scopes: Sequence[str] | None = None,
        lasts: float | None = None,
    ) -> tuple[str, Token]:
        """Make a token and return its secret, which nothing shows again.

        :param owner: an account's name; None for the maker.
        :param scopes: what it is limited to; None for all that its owner may.
        :param lasts: seconds until it expires; None for never.
        :raises Refusal: FORBIDDEN for others' without ``admin.tokens``, or when the maker's own token is limited; INVALID_REQUEST.
        """
        secret = new_secret()
        token = self._new_token(maker, name, owner or maker.user_id, scopes, lasts, secret)
        await self._store.add_token(token)
        self._tokens[token.id] = token
        self._edits += 1
        self.tokens.add(token.hash, self._token_key(token))
        return secret, token

    def _new_token(
        self, maker: Principal, name: str, owner: str, scopes: Sequence[str] | None, lasts: float | None, secret: str
    ) -> Token:
        for number, scope in enumerate(scopes or ()):
            if (sentence := problem(scope)) is not None:
                raise Refusal(INVALID_REQUEST, f"$.scopes[{number}]: {sentence}")
        if maker.scopes is not None:
            raise Refusal(FORBIDDEN, "a token that is limited makes no tokens")
        own = owner == maker.user_id
        if not own and not may(maker, "admin.tokens"):
            raise Refusal(FORBIDDEN, "this needs admin.tokens")
        account = self._accounts.get(owner)
        if account is None and not own:
            raise Refusal(ACCOUNT_NOT_FOUND, owner)
        if account is not None:  # also one's own: a key of the same name that may do less makes no more of itself
            self._check_covered(maker, account)
        now = datetime.now(UTC)
        return Token(
            id=new_id(),
            owner=owner,
            name=name,
            hash=digest(secret),
            created_at=now,
            role=maker.role,
            permissions=tuple(sorted(maker.permissions)) if own else (),
            teams=tuple(sorted(maker.teams)) if own else (),
            scopes=None if scopes is None else tuple(sorted(effective("", scopes))) if scopes else ("none",),
            created_by=maker.user_id,
            expires_at=None if lasts is None else now + timedelta(seconds=lasts),
        )

    async def revoke_token(self, caller: Principal, token_id: str) -> Token:
        """Revoke a token: the next request with it fails, and streams that it opened are cut.

        :raises Refusal: TOKEN_NOT_FOUND, for somebody else's too without ``admin.tokens``.
        """
        owner = None if may(caller, "admin.tokens") else caller.user_id
        token = await self._store.revoke_token(token_id, datetime.now(UTC), owner)
        self._tokens.pop(token.id, None)
        self._edits += 1
        self.tokens.remove(token.hash)
        self._changed()
        return token

    # -- log-ins

    async def log_in(
        self,
        user: Principal,
        provider: str,
        lasts: float,
        upstream: str | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> tuple[str, Login]:
        """Keep a log-in and return its secret: the session id of ``X-Session-ID``, the cookie and ``Bearer``.

        :param lasts: seconds until it expires.
        :param upstream: the provider's own token; kept sealed.
        """
        secret, now = new_secret(LOGIN_PREFIX), datetime.now(UTC)
        login = Login(
            new_id(),
            user.user_id,
            digest(secret),
            provider,
            now,
            now + timedelta(seconds=lasts),
            user.role,
            tuple(sorted(user.permissions)),
            tuple(sorted(user.teams)),
            upstream,
            dict(facts or {}),
        )
        await self._store.add_login(login)
        self._logins[login.id] = login
        self._edits += 1
        if self._opens(login):
            self.logins.add(login.hash, self._login_key(login))
        return secret, login

    def list_logins(self, owner: str | None = None) -> Sequence[Login]:
        """Return the log-ins that are open, oldest first; only those of *owner* if given."""
        now = datetime.now(UTC)
        return [one for one in self._logins.values() if one.expires_at > now and owner in (None, one.owner)]

    async def forget_logins(self, before: datetime) -> None:
        """Forget the log-ins that expired before a time."""
        await self._store.forget_logins(before)
        self._logins = {key: one for key, one in self._logins.items() if one.expires_at >= before}

    def login(self, login_id: str) -> Login | None:
        """Return the log-in with this id, which is no secret."""
        return self._logins.get(login_id)

    def login_of(self, secret: str) -> Login | None:
        """Return the log-in of a session id, also an expired one that is still in memory."""
        wanted = digest(secret)
        return next((one for one in self._logins.values() if one.hash == wanted), None)

    async def extend(self, login: Login, lasts: float) -> Login:
        """Let a log-in expire *lasts* seconds from now, but not later than :data:`LONGEST_LOGIN` after it began."""
        until = min(datetime.now(UTC) + timedelta(seconds=lasts), login.created_at + LONGEST_LOGIN)
        return await self._change_login(login, expires_at=until)

    async def learn(self, login: Login, user: Principal, facts: Mapping[str, object]) -> Login:
        """Take over what a provider says of a user now; it counts in the next request."""
        found = {
            "role": user.role,
            "permissions": tuple(sorted(user.permissions)),
            "teams": tuple(sorted(user.teams)),
            "facts": dict(facts),
        }
        return login if replace(login, **found) == login else await self._change_login(login, **found)  # type: ignore[arg-type]

    async def _change_login(self, login: Login, **changes: Any) -> Login:
        await self._store.change_login(login.id, **changes)
        self._edits += 1
        if login.id not in self._logins:
            return login  # it was ended meanwhile
        self._logins[login.id] = after = replace(self._logins[login.id], **changes)
        if self._opens(after):
            self.logins.add(login.hash, self._login_key(after))
        self._changed()
        return after

    async def log_out(self, login: Login) -> None:
        """End a log-in and forget the provider's token; twice does no harm."""
        await self._store.change_login(login.id, revoked_at=datetime.now(UTC), upstream=None)
        self._logins.pop(login.id, None)
        self._edits += 1
        self.logins.remove(login.hash)
        self._changed()


def check_account(name: str, role: str, permissions: Sequence[str], roles: Mapping[str, frozenset[str]]) -> None:
    """Check what an account is to be.

    :raises Refusal: INVALID_REQUEST, naming the field.
    """
    if not is_name(name):
        raise Refusal(INVALID_REQUEST, "$.name: expected up to 128 letters, digits and _ . @ + -")
    if not effective(role, permissions, roles):
        raise Refusal(INVALID_REQUEST, f"$.role: {role} is not one of {', '.join(sorted(roles))}")
    for number, one in enumerate(permissions):
        if (sentence := problem(one)) is not None:
            raise Refusal(INVALID_REQUEST, f"$.permissions[{number}]: {sentence}")
