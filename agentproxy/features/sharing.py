"""Sharing a session: grants to users and teams, and links. They count in the next request; streams end when they are taken back."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from agentproxy.errors import INVALID_REQUEST, SHARE_EXPIRED, SHARE_NOT_FOUND, SHARE_UNKNOWN, Refusal
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.permitting import Permits
from agentproxy.model.credentials import Share, digest
from agentproxy.model.permission import GRANTED, SESSION_VERBS, Decision, Grant, decide, may
from agentproxy.model.principal import Principal
from agentproxy.store.sharing import SharingStore


@dataclass(frozen=True, slots=True)
class Access:
    """What a user could do to a session with one of its credentials.

    :param decisions: verb to decision.
    """

    principal: Principal
    decisions: dict[str, Decision]


class Sharing:
    """See the module.

    :param known: returns the principals that a user name stands for now, one for each of its credentials.
    :param changed: told after something was taken back.
    """

    def __init__(
        self,
        store: SharingStore,
        sessions: VisibleSessions,
        permits: Permits,
        known: Callable[[str], Iterable[Principal]] = lambda _user: (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._permits = permits
        self._known = known
        self._changed = changed
        self._grants: dict[tuple[str, str], Grant] = {}
        self._links: dict[str, Share] = {}
        self._edits = 0

    async def load(self) -> None:
        """Read grants and links; once more when some were changed here meanwhile, which what was read may not know yet."""
        edits = -1
        while edits != self._edits:
            edits = self._edits
            grants, links = await self._store.grants(), await self._store.shares()
        self._grants = {(one.session_id, one.grantee): one for one in grants}
        self._links = {digest(one.token): one for one in links}
        self._use()

    def _use(self) -> None:
        self._permits.load(self._grants.values())
        self._changed()

    # -- links

    async def share(self, caller: Principal, session_id: str, access: str, lasts: float | None) -> tuple[Share, bool]:
        """Return the link of a session and whether it is new; a session has one.

        :param lasts: seconds until it expires; None is never.
        :raises Refusal: INVALID_REQUEST, or as :meth:`VisibleSessions.permitted`.
        """
        _check_access(access)
        await self._sessions.permitted(caller, session_id, "session.share")
        now = datetime.now(UTC)
        expires = None if lasts is None else now + timedelta(seconds=lasts)
        share = Share(session_id, secrets.token_hex(16), access, now, caller.user_id, expires)
        before = self._link_of(session_id)
        if before is not None and before.expires_at is not None and before.expires_at <= now:
            await self._store.remove_share(session_id)
            self._links.pop(digest(before.token), None)
            self._edits += 1
        kept = await self._store.add_share(share)
        self._links[digest(kept.token)] = kept
        self._edits += 1
        new = kept.token == share.token
        if new:
            self._note(caller, "link.add", session_id, access=access, until=expires and expires.isoformat())
        return kept, new

    async def link(self, caller: Principal, session_id: str) -> Share:
        """Return the link of a session.

        :raises Refusal: SHARE_NOT_FOUND, or as :meth:`VisibleSessions.permitted`.
        """
        await self._sessions.permitted(caller, session_id, "session.share")
        share = self._link_of(session_id)
        if share is None:
            raise Refusal(SHARE_NOT_FOUND, session_id=session_id)
        return share

    async def unshare(self, caller: Principal, session_id: str) -> None:
        """Take the link back; its streams end.

        :raises Refusal: SHARE_NOT_FOUND, or as :meth:`VisibleSessions.permitted`.
        """
        await self._sessions.permitted(caller, session_id, "session.share")
        share = self._link_of(session_id)
        if share is None or not await self._store.remove_share(session_id):
            raise Refusal(SHARE_NOT_FOUND, session_id=session_id)
        self._links.pop(digest(share.token), None)
        self._edits += 1
        self._changed()
        self._note(caller, "link.remove", session_id, access=share.access)

    def _note(self, caller: Principal, verb: str, session_id: str, **facts: object) -> None:
        self._permits.note(caller, verb, session_id, True, "session.share", **facts)

    def _link_of(self, session_id: str) -> Share | None:
        return next((one for one in self._links.values() if one.session_id == session_id), None)

    def look(self, token: str) -> Share | Refusal:
        """Return the link of a token, or why there is none: SHARE_UNKNOWN or SHARE_EXPIRED."""
        share = self._links.get(digest(token))
        if share is None or not hmac.compare_digest(share.token, token):
            return Refusal(SHARE_UNKNOWN)
        if share.expires_at is not None and share.expires_at <= datetime.now(UTC):
            return Refusal(SHARE_EXPIRED)
        return share

    # -- grants

    async def grant(self, caller: Principal, session_id: str, grantee: str, access: str) -> Grant:
        """Share a session with a user (``user:NAME``) or a team (``team:ORG/SLUG``).

        :raises Refusal: INVALID_REQUEST, or as :meth:`VisibleSessions.permitted`.
        """
        _check_access(access)
        _check_grantee(grantee)
        await self._sessions.permitted(caller, session_id, "session.share")
        grant = Grant(session_id, grantee, access)
        await self._store.put_grant(grant, caller.user_id, datetime.now(UTC))
        self._grants[session_id, grantee] = grant
        self._edits += 1
        self._use()
        self._note(caller, "grant.add", session_id, grantee=grantee, access=access)
        return grant

    async def ungrant(self, caller: Principal, session_id: str, grantee: str) -> None:
        """Take a grant back; its streams end.

        :raises Refusal: SHARE_NOT_FOUND, or as :meth:`VisibleSessions.permitted`.
        """
        await self._sessions.permitted(caller, session_id, "session.share")
        if not await self._store.remove_grant(session_id, grantee):
            raise Refusal(SHARE_NOT_FOUND, grantee, session_id)
        self._grants.pop((session_id, grantee), None)
        self._edits += 1
        self._use()
        self._note(caller, "grant.remove", session_id, grantee=grantee)

    async def access(
        self, caller: Principal, session_id: str, user: str | None
    ) -> tuple[Sequence[Grant], Sequence[Access]]:
        """Return the grants of a session, and what a user could do to it and because of what.

        :param user: None asks about the caller. Asking about others needs ``session.share``; which credentials they have is said to
            nobody but who reads everybody's audit.
        :raises Refusal: as :meth:`VisibleSessions.permitted`.
        """
        about_self = user in (None, caller.user_id)
        verb = "session.read" if about_self else "session.share"
        session = await self._sessions.permitted(caller, session_id, verb)
        grants = self._permits.grants_of(session_id)
        principals = [caller] if about_self else self._others(caller, user or "")
        return grants, [
            Access(one, {verb: decide(one, verb, session, grants) for verb in SESSION_VERBS if verb != "session.start"})
            for one in principals
        ]

    def _others(self, caller: Principal, user: str) -> list[Principal]:
        found = list(self._known(user)) or [Principal(user, "none")]
        return found if may(caller, "audit.read", "all") else [replace(one, credential="") for one in found]

    async def forget(self, session_id: str) -> None:
        """Take back everything about a session that was deleted."""
        keys = [key for key in self._grants if key[0] == session_id]
        share = self._link_of(session_id)
        if not keys and share is None:
            return
        for key in keys:
            self._grants.pop(key, None)
        if share is not None:
            self._links.pop(digest(share.token), None)
        self._use()
        await self._store.forget(session_id)
        self._edits += 1


def _check_access(access: str) -> None:
    if access not in GRANTED:
        raise Refusal(INVALID_REQUEST, f"$.access: expected one of {', '.join(GRANTED)}, got {access!r}")


def _check_grantee(grantee: str) -> None:
    kind, _, name = grantee.partition(":")
    if kind not in ("user", "team") or not name or len(grantee) > 255 or "\0" in grantee:
        raise Refusal(INVALID_REQUEST, "grantee: expected user:NAME or team:ORG/SLUG")
