"""Who may pass the gateway: the gatekeeper's answer and the permission on the session, for every forwarded request.

GET, HEAD and OPTIONS need ``session.read``, everything else and every WebSocket ``session.message``. A request that came by a share
link needs what the link allows. Everything is decided from memory; only a session or a caller that memory does not know makes the
gateway wait. What is refused as "not found" costs what a missing session costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.auth.authenticator import Later
from agentproxy.auth.gatekeeper import Gatekeeper
from agentproxy.errors import SESSION_ENDED, SESSION_NOT_FOUND, SHARE_READ_ONLY, UNAUTHENTICATED, Refusal
from agentproxy.features.evening import Evening
from agentproxy.features.permitting import Permits
from agentproxy.features.routing import Directory
from agentproxy.features.sharing import Sharing
from agentproxy.gateway.head import Head
from agentproxy.gateway.routes import Guarded, Waiting
from agentproxy.gateway.rules import wants_websocket
from agentproxy.model.backend import Backend
from agentproxy.model.permission import GRANTED, Grant, decide
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session

_READS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_LINK = re.compile(rb"/s/([0-9a-f]{32})(?=[/?]|$)")
_OURS = re.compile(rb"/sessions/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?=/|$)")
_MESSAGE = re.compile(rb"/[0-9a-f-]{36}/message/?")
SHARED = (b"X-Shared-Session", b"true")


def verb_of(head: Head) -> str:
    """Return the permission that a forwarded request needs."""
    if head.method not in _READS:
        return "session.message"
    return "session.message" if head.fields.upgrades and wants_websocket(head) else "session.read"


def _path(head: Head) -> bytes:
    """Return the path of a request as whoever answers it reads it, in whatever way it is written."""
    return unquote_to_bytes(head.target.partition(b"?")[0])


def _is_message(head: Head) -> bool:
    """Return whether an agent server takes a request as a message."""
    return _MESSAGE.fullmatch(_path(head)) is not None


MessageGuard = Callable[[Principal, str, bytes | None], Deferred[None]]
"""Lets a message pass that is posted to an agent server, when nothing else is being typed; fails with why it may not.

It is given who sends it, the session, and the body, None for one that could not be looked at."""


class Admission:
    """The gateway's directory of sessions, with the permission decision in front of it."""

    log = Logger()

    def __init__(
        self, directory: Directory, gatekeeper: Gatekeeper, permits: Permits, sharing: Sharing, evening: Evening
    ) -> None:
        self._evening = evening
        self._directory = directory
        self._gatekeeper = gatekeeper
        self._permits = permits
        self._sharing = sharing
        self.message_guard: MessageGuard | None = None

    def find(self, session_id: str, head: Head) -> Backend | Waiting | Guarded | Refusal:
        """Return the agent server of a session for whoever sent *head*."""
        who = self._gatekeeper.identify(head)
        if isinstance(who, Refusal):
            return who
        if isinstance(who, Later):
            later = who
            return Waiting(lambda: Deferred.fromCoroutine(self._asked(later, session_id, head)))
        return self._for(who, session_id, head)

    def explain(self, session_id: str, failure: str) -> Refusal:
        """Return why an agent server does not answer."""
        return self._directory.explain(session_id, failure)

    async def _asked(self, later: Later, session_id: str, head: Head) -> Backend | Guarded | Refusal:
        who = await later.decided()
        if isinstance(who, Principal):
            outcome = self._for(who, session_id, head)
            return await outcome.decided() if isinstance(outcome, Waiting) else outcome
        return Refusal(UNAUTHENTICATED) if who is None else who

    def _for(self, who: Principal, session_id: str, head: Head) -> Backend | Waiting | Guarded | Refusal:
        record = self._directory.record(session_id)
        if record is None:
            return Waiting(lambda: Deferred.fromCoroutine(self._stored(who, session_id, head)))
        refused = self._refusal(who, record, head)
        if refused is not None:
            if refused.kind is not SESSION_NOT_FOUND:
                return refused
            return Waiting(lambda: Deferred.fromCoroutine(self._slowly(session_id, refused)))
        found = self._directory.look(session_id)
        if found is None:
            return Waiting(lambda: self._directory.decide(session_id).addCallback(self._guarded, who, session_id, head))
        return self._guarded(found, who, session_id, head)

    def _guarded(
        self, found: Backend | Refusal, who: Principal, session_id: str, head: Head
    ) -> Backend | Guarded | Refusal:
        """Return what was found, or for a message the guard in front of it."""
        guard = self.message_guard
        if guard is None or head.method != b"POST" or isinstance(found, Refusal) or not _is_message(head):
            return found
        return Guarded(lambda body: guard(who, session_id, body).addCallback(lambda _none: self._again(session_id)))

    def _again(self, session_id: str) -> Backend | Refusal:
        """Return the agent server as it is after the guard."""
        return self._directory.look(session_id) or Refusal(SESSION_ENDED, session_id=session_id)

    async def _slowly(self, session_id: str, refused: Refusal) -> Refusal:
        """Refuse after the look-up that a missing session costs."""
        begun = self._evening.begin()
        await self._directory.stored(session_id)
        await self._evening.wait(begun)
        return refused

    async def _stored(self, who: Principal, session_id: str, head: Head) -> Backend | Refusal:
        begun = self._evening.begin()
        record = await self._directory.stored(session_id)
        if record is None:
            self._permits.note(
                self._gatekeeper.from_address(who, head), verb_of(head), session_id, False, "there is no such session"
            )
            refused: Refusal | None = Refusal(SESSION_NOT_FOUND, session_id=session_id)
        else:
            refused = self._refusal(who, record, head)
        if refused is not None and refused.kind is SESSION_NOT_FOUND:
            await self._evening.wait(begun)
        return refused or await self._directory.decide(session_id)

    def _refusal(self, who: Principal, record: Session, head: Head) -> Refusal | None:
        verb = verb_of(head)
        if head.share:
            return self._by_link(who, record, verb, head)
        if self._permits.lets(who, verb, record):
            return None
        if self._permits.notes(who, verb, record):
            who = self._gatekeeper.from_address(who, head)
        return self._permits.refusal(who, verb, record)

    def _by_link(self, who: Principal, record: Session, verb: str, head: Head) -> Refusal | None:
        refused = self._link_refusal(who, record, verb, head)
        reason = f"the share link of {record.id}" if refused is None else str(refused)
        who = self._gatekeeper.from_address(who, head)
        if refused is not None or verb != "session.read":
            self._permits.note(who, verb, record.id, refused is None, reason)
        return refused

    def _link_refusal(self, who: Principal, record: Session, verb: str, head: Head) -> Refusal | None:
        share = self._sharing.look(head.share)
        if isinstance(share, Refusal):
            return share
        if verb not in GRANTED[share.access]:
            return Refusal(SHARE_READ_ONLY, session_id=record.id)
        by_link = Grant(record.id, f"user:{who.user_id}", share.access)
        if record.deleted_at is None and share.session_id == record.id and decide(who, verb, record, [by_link]).allowed:
            return None
        return Refusal(SESSION_NOT_FOUND)

    # -- links

    def follow(self, head: Head) -> Head:
        """Return the head of a request for a share link as one for its session; an unknown link stays as it is."""
        match = _LINK.match(head.target)
        if match is None:
            return head
        token = match[1].decode("ascii")
        share = self._sharing.look(token)
        if isinstance(share, Refusal):
            return head
        rest = head.target[match.end() :]
        headers = [(name, value) for name, value in head.headers if name.lower() != SHARED[0].lower()]
        target = b"/" + share.session_id.encode("ascii") + rest
        pairs = [*headers, SHARED]
        return Head(head.method, target, pairs, head.minor, head.peer, head.secure, head.length, share=token)

    # -- what runs already

    def still_allowed(self, head: Head, cut: Callable[[], None] = lambda: None) -> bool:
        """Return whether a request that runs would still be let in, without counting or noting it.

        :param cut: called later, when somebody has to be asked and says no.
        """
        who = self._gatekeeper.identify(head, quiet=True)
        if isinstance(who, Later):
            Deferred.fromCoroutine(self._still(who, head, cut)).addErrback(self._failed)
            return True
        return isinstance(who, Principal) and self._still_permitted(who, head)

    async def _still(self, later: Later, head: Head, cut: Callable[[], None]) -> None:
        who = await later.decided()
        gone = who is None or (isinstance(who, Refusal) and who.kind is UNAUTHENTICATED)
        if gone or (isinstance(who, Principal) and not self._still_permitted(who, head)):
            cut()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("An open stream could not be checked again", failure)

    def _still_permitted(self, who: Principal, head: Head) -> bool:
        ours = _OURS.match(_path(head))
        session_id = ours[1].decode("ascii") if ours else head.session_id
        record = self._directory.record(session_id) if session_id else None
        if record is None:
            return True
        if head.share:
            return self._link_refusal(who, record, verb_of(head), head) is None
        return self._permits.look(who, "session.read" if ours else verb_of(head), record) is None
