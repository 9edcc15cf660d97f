"""Notifications to browsers by Web Push: who is subscribed, and how something is said to them.

What is said is encrypted for the browser (RFC 8291); the push service learns from the signature (RFC 8292) which server
sends, and nothing else. A subscription that it does not know any more is removed.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import DeferredSemaphore, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.errors import INVALID_REQUEST, PUSH_UNAVAILABLE, SUBSCRIPTION_NOT_FOUND, Refusal
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.permitting import Permits
from agentproxy.model import push as rules
from agentproxy.model.permission import may, require
from agentproxy.model.principal import Principal
from agentproxy.model.push import Recipients, Subscription, Urgent, Vapid
from agentproxy.store import Store
from agentproxy.store import push as rows

log = Logger()
FOR_OTHERS = "admin.accounts"
AT_ONCE = 8
"""Requests to push services that are under way together."""
TOKEN_SECONDS = 3600
GONE = (404, 410)
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Posts a body with headers to an endpoint and returns the status; raises OSError-like failures as they come."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says.

    :param vapid: None while there are no keys.
    :param allowed_hosts: names of push services.
    :param most: subscriptions of one user.
    """

    vapid: Vapid | None
    allowed_hosts: tuple[str, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a notification.

    :param reached: subscriptions that it was for.
    :param failures: why it did not come to some, a sentence each.
    """

    reached: int
    sent: int = 0
    removed: int = 0
    failures: tuple[str, ...] = ()


class Pushing:
    """Keeps subscriptions and notifies them.

    :param post: see :data:`Post`.
    """

    def __init__(self, store: Store, sessions: VisibleSessions, permits: Permits, terms: Terms, post: Post) -> None:
        self._store, self._sessions, self._permits, self._terms, self._post = store, sessions, permits, terms, post
        self._slots = DeferredSemaphore(AT_ONCE)

    def public_key(self, caller: Principal) -> str:
        """Return the key that a page gives its browser to subscribe with, in base64url.

        :raises Refusal: FORBIDDEN, PUSH_UNAVAILABLE.
        """
        require(caller, "session.read")
        return self._keys().public

    def _keys(self) -> Vapid:
        if self._terms.vapid is None:
            raise Refusal(PUSH_UNAVAILABLE, "push.vapid_public_key and push.vapid_private_key are not set")
        return self._terms.vapid

    async def subscribe(self, caller: Principal, wish: Subscription) -> Subscription:
        """Keep a subscription of the caller's, or change that with its endpoint; return it with its id.

        :param wish: its id, user and times are ours to say.
        :raises Refusal: INVALID_REQUEST, FORBIDDEN, TOO_MANY_SUBSCRIPTIONS.
        """
        require(caller, "session.read")
        rules.check_endpoint(wish.endpoint, self._terms.allowed_hosts)
        rules.check_keys(wish.p256dh, wish.auth)
        now = datetime.now(UTC)
        one = replace(
            wish,
            id=f"sub_{uuid.uuid4()}",
            user_id=caller.user_id,
            user_type=caller.source,
            username=caller.user_id,
            created_at=now,
            updated_at=now,
        )
        kept = await self._store.run(lambda it: rows.keep(it, one, self._terms.most), writes=True)
        self._permits.note(caller, "push.subscribe", None, True, "session.read", subscription=kept.id)
        return kept

    async def of(self, caller: Principal) -> Sequence[Subscription]:
        """Return the caller's subscriptions."""
        require(caller, "session.read")
        return await self._store.run(lambda it: rows.of_user(it, caller.user_id))

    async def unsubscribe(self, caller: Principal, endpoint: str) -> None:
        """Remove the caller's subscription with this endpoint.

        :raises Refusal: SUBSCRIPTION_NOT_FOUND.
        """
        require(caller, "session.read")
        if not await self._store.run(lambda it: rows.remove(it, caller.user_id, endpoint), writes=True):
            raise Refusal(SUBSCRIPTION_NOT_FOUND)
        self._permits.note(caller, "push.unsubscribe", None, True, "session.read")

    async def send(
        self, caller: Principal, to: Recipients, said: Mapping[str, str], how: Urgent, *, dry_run: bool = False
    ) -> Outcome:
        """Notify the caller, or whoever *to* names.

        :param said: what the browser shows: ``title``, ``body`` and so on.
        :param dry_run: only count whom it would reach.
        :raises Refusal: FORBIDDEN for others without ``admin.accounts``, SESSION_NOT_FOUND, INVALID_REQUEST, PUSH_UNAVAILABLE.
        """
        to = await self._permitted(caller, to)
        message = json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False).encode()
        if len(message) > rules.MOST_BYTES:
            raise Refusal(INVALID_REQUEST, f"$: the notification has {len(message)} bytes; at most {rules.MOST_BYTES}")
        found = await self._store.run(lambda it: rows.find(it, to))
        if dry_run:
            return Outcome(len(found))
        outcome = await self._tell(self._keys(), found, message, how)
        facts = {"user": to.user_id, "reached": outcome.reached, "sent": outcome.sent}
        self._permits.note(caller, "push.send", to.session_id or None, True, "sent", **facts)
        return outcome

    async def _permitted(self, caller: Principal, to: Recipients) -> Recipients:
        require(caller, "session.read")
        anybody = not (to.user_id or to.user_type or to.username)
        own = anybody or caller.user_id in (to.user_id, "" if to.user_id else to.username)
        if not own and not may(caller, FOR_OTHERS):
            require(caller, FOR_OTHERS)
        if to.session_id:
            await self._sessions.permitted(caller, to.session_id, "session.read")
        return replace(to, user_id=caller.user_id) if own else to

    async def _tell(self, vapid: Vapid, found: Sequence[Subscription], message: bytes, how: Urgent) -> Outcome:
        waiting = [self._slots.run(self._tell_one, vapid, one, message, how) for one in found]
        told: list[int | str] = await gatherResults(waiting)
        used = [one.id for one, status in zip(found, told, strict=True) if isinstance(status, int) and status < 300]
        gone = [one.id for one, status in zip(found, told, strict=True) if status in GONE]
        await self._store.run(lambda it: rows.settle(it, used, gone, datetime.now(UTC)), writes=True)
        failures = [_why(one, status) for one, status in zip(found, told, strict=True) if one.id not in used]
        return Outcome(len(found), len(used), len(gone), tuple(failures))

    async def _tell_one(self, vapid: Vapid, one: Subscription, message: bytes, how: Urgent) -> int | str:
        """Return the push service's status, or why there is none."""
        place = rules.host_of(one.endpoint)
        if place is None or not rules.is_allowed(*place, self._terms.allowed_hosts):
            return "is not in push.allowed_hosts any more"
        try:
            headers, body = await deferToThread(sealed, vapid, one, message, how)
            return await self._post(one.endpoint, body, headers)
        except Exception as error:
            log.info("A push service failed: {host}: {error}", host=place[0], error=repr(error))
            return "does not answer"


def _why(one: Subscription, told: int | str) -> str:
    place = rules.host_of(one.endpoint)
    said = f"answered {told}" if isinstance(told, int) else told
    return f"{one.id}: {place[0] if place else 'its endpoint'} {said}"


def sealed(vapid: Vapid, one: Subscription, message: bytes, how: Urgent) -> tuple[dict[str, str], bytes]:
    """Return the headers and the encrypted body for a subscription's push service. Takes a millisecond of a CPU; blocks."""
    import http_ece  # these are dear, and only for this
    from joserfc import jwt
    from joserfc.jwk import ECKey

    body: bytes = http_ece.encrypt(
        message,
        salt=os.urandom(16),
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=rules.decoded(one.p256dh),
        auth_secret=rules.decoded(one.auth),
        version="aes128gcm",
    )
    origin = one.endpoint.split("/", 3)
    claims = {"aud": "/".join(origin[:3]), "exp": int(time.time()) + TOKEN_SECONDS, "sub": vapid.contact}
    token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, ECKey.import_key(vapid.private), algorithms=["ES256"])
    headers = {
        "Authorization": f"vapid t={token}, k={vapid.public}",
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(how.ttl),
        "Urgency": how.urgency,
    }
    return headers, body
