"""Who may do what: the one place that answers "may P do V to this session, and because of what".

A permission is ``verb:reach``. ``session.*`` is every verb of sessions, ``admin.*`` every one of administration, ``*`` every verb
at every reach, ``*:own`` every one but those of administration. Without a reach it is ``own``; those of administration have
no other.

| Reach | Which sessions |
|---|---|
| ``own`` | those that the principal owns |
| ``team`` | those of scope ``team`` whose team the principal belongs to |
| ``all`` | those of everybody |
| an id | that one session |

A grant shares one session with a user or a team and widens a verb that the principal has at ``own``, ``team`` or ``all``: it never
gives a verb that its role or its token does not have. Whoever may not ``session.read`` a session cannot tell it from a missing one.

The names of agentapi-proxy (``session:create``...) mean what they meant there: they reach the own sessions, with the role
``admin`` everybody's, and those of the teams where the role ``user`` reaches them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from agentproxy.errors import FORBIDDEN, SESSION_NOT_FOUND, Refusal
from agentproxy.model.principal import Principal
from agentproxy.model.search import VisibleTo
from agentproxy.model.session import Session

SESSION_VERBS = (
    "session.start",
    "session.list",
    "session.read",
    "session.message",
    "session.interrupt",
    "session.stop",
    "session.delete",
    "session.share",
)
ADMIN_VERBS = ("admin.accounts", "admin.tokens", "admin.settings", "admin.metrics")
VERBS = (*SESSION_VERBS, "audit.read", *ADMIN_VERBS)
WIDE = ("own", "team", "all")

READ = frozenset({"session.list", "session.read"})
WRITE = READ | {"session.message", "session.interrupt"}
GRANTED: Mapping[str, frozenset[str]] = {"read": READ, "write": WRITE}
"""What a grant or a share link allows, by its access."""

_OWN_AND_TEAM = ("session.list", "session.read", "session.message", "session.interrupt", "session.stop")
ROLES: Mapping[str, frozenset[str]] = {
    "admin": frozenset({"*"}),
    "user": frozenset(
        {f"{verb}:own" for verb in SESSION_VERBS} | {f"{verb}:team" for verb in _OWN_AND_TEAM} | {"audit.read:own"}
    ),
    "viewer": frozenset({f"{verb}:{reach}" for verb in READ for reach in ("own", "team")}),
    "guest": frozenset({f"{verb}:own" for verb in READ}),
    "none": frozenset(),
}
"""What a role may, when a key or mapping lists no permissions of its own."""
SAME_ROLES = {"developer": "user", "member": "user", "readonly": "viewer", "service": "user"}
"""Other names of roles."""

PEER = {
    "session:create": ("session.start",),
    "session:list": ("session.list", "session.read"),
    "session:read": ("session.list", "session.read"),
    "session:access": ("session.read", "session.message", "session.interrupt", "session.share"),
    "session:update": ("session.read", "session.message", "session.interrupt", "session.stop"),
    "session:delete": ("session.read", "session.stop", "session.delete"),
    "session:share": ("session.read", "session.share"),
    "notification:subscribe": ("session.read",),
    "notification:history": ("session.read",),
    "admin": ("*",),
}
"""Names of agentapi-proxy and what they are here."""


_NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """One session shared with a user (``user:NAME``) or a team (``team:ORG/SLUG``).

    :param access: a key of :data:`GRANTED`.
    """

    session_id: str
    grantee: str
    access: str


@dataclass(frozen=True, slots=True)
class Decision:
    """May or may not, and why: the permission or grant that allows it, or the sentence what is missing."""

    allowed: bool
    reason: str


def role_permissions(role: str, roles: Mapping[str, frozenset[str]] = ROLES) -> frozenset[str]:
    """Return what a role may; an unknown one may nothing."""
    return roles.get(role) or roles.get(SAME_ROLES.get(role, ""), frozenset())


def effective(
    role: str, permissions: Iterable[str] = (), roles: Mapping[str, frozenset[str]] = ROLES
) -> frozenset[str]:
    """Return the permissions of a key or a mapping: the listed ones in our names, or the role's when none is listed.

    The peer's names reach everybody's sessions with the role ``admin``.
    """
    listed = frozenset(permissions)
    if not listed:
        return role_permissions(role, roles)
    found: set[str] = set()
    for one in listed:
        if one not in PEER:
            found.add(one)
            continue
        for verb in PEER[one]:
            reaches = ("all",) if role == "admin" else ("own", "team") if verb in _OWN_AND_TEAM else ("own",)
            found |= {verb} if verb == "*" else {f"{verb}:{reach}" for reach in reaches}
    return frozenset(found)


def problem(permission: str) -> str | None:
    """Return the sentence why a permission is none, or None."""
    if permission == "*" or permission in PEER:
        return None
    verb, _, reach = permission.partition(":")
    if not _verbs(verb):
        return (
            f"{permission}: there is no permission {verb}; known are {', '.join((*VERBS, 'session.*', 'admin.*', '*'))}"
        )
    if reach and reach not in WIDE and not (verb.startswith("session.") and len(reach) == 36):
        return f"{permission}: the reach {reach} is not own, team, all or the id of a session"
    return None


def _verbs(name: str) -> tuple[str, ...]:
    if name == "*":
        return VERBS
    if name in ("session.*", "admin.*"):
        return tuple(verb for verb in VERBS if verb.startswith(name[:-1]))
    return (name,) if name in VERBS else ()


@lru_cache(maxsize=4096)
def reaches(permissions: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """Return verb to reaches of a set of permissions; what is no permission gives nothing."""
    found: dict[str, set[str]] = {}
    for one in permissions:
        name, _, reach = one.partition(":")
        for verb in _verbs(name):
            if name == "*" and reach not in ("", "all") and verb in ADMIN_VERBS:
                continue
            found.setdefault(verb, set()).add("all" if one == "*" else reach or "own")
    return {verb: frozenset(kinds) for verb, kinds in found.items()}


def sets_of(principal: Principal) -> tuple[frozenset[str], ...]:
    """Return the sets of permissions that must all allow what the principal does: its own, and the scopes of its token."""
    return (principal.permissions,) if principal.scopes is None else (principal.permissions, principal.scopes)


def may(principal: Principal, verb: str, reach: str = "own") -> bool:
    """Return whether the principal has *verb* at *reach* or everywhere, whatever the session."""
    return all(not {reach, "all"}.isdisjoint(reaches(one).get(verb, ())) for one in sets_of(principal))


def covers(principal: Principal, permissions: frozenset[str]) -> bool:
    """Return whether the principal has everything that *permissions* allow: nobody gives more than that."""
    wanted = reaches(permissions)
    return all(
        "all" in reaches(own).get(verb, _NOWHERE) or kinds <= reaches(own).get(verb, _NOWHERE)
        for own in sets_of(principal)
        for verb, kinds in wanted.items()
    )


def decide(principal: Principal, verb: str, session: Session, grants: Iterable[Grant] = ()) -> Decision:
    """Return whether the principal may do *verb* to *session*, and because of what.

    :param grants: those of this session.
    """
    reason = _why(principal, verb, session, grants)
    if reason is None:
        return Decision(False, f"{principal.user_id or 'nobody'} lacks {verb} for this session")
    return Decision(True, reason)


def _why(principal: Principal, verb: str, session: Session, grants: Iterable[Grant]) -> str | None:
    reason = _reason(principal, reaches(principal.permissions).get(verb, _NOWHERE), verb, session, grants)
    if reason is None or principal.scopes is None:
        return reason
    limited = _reason(principal, reaches(principal.scopes).get(verb, _NOWHERE), verb, session, grants)
    return None if limited is None else reason


def _reason(
    principal: Principal, kinds: frozenset[str], verb: str, session: Session, grants: Iterable[Grant]
) -> str | None:
    if "all" in kinds:
        return f"{verb}:all"
    if "own" in kinds and session.owner == principal.user_id:
        return f"{verb}:own"
    if "team" in kinds and session.scope == "team" and session.team_id in principal.teams:
        return f"{verb}:team ({session.team_id})"
    if session.id in kinds:
        return f"{verb}:{session.id}"
    if not kinds.isdisjoint(WIDE):
        for grant in grants:
            if verb in GRANTED.get(grant.access, ()) and is_for(grant, principal):
                return f"shared for {grant.access} with {grant.grantee}"
    return None


def is_for(grant: Grant, principal: Principal) -> bool:
    """Return whether a grant is given to the principal or to one of its teams."""
    kind, _, name = grant.grantee.partition(":")
    return name == principal.user_id if kind == "user" else kind == "team" and name in principal.teams


def refusal(principal: Principal, verb: str, session: Session, grants: Sequence[Grant] = ()) -> Refusal | None:
    """Return why the principal may not do *verb* to *session*, None when it may.

    SESSION_NOT_FOUND for whoever may not read it, FORBIDDEN for whoever may.
    """
    if session.deleted_at is None:
        if _why(principal, verb, session, grants) is not None:
            return None
        if _why(principal, "session.read", session, grants) is not None:
            return Refusal(FORBIDDEN, f"this needs {verb}", session.id)
    return Refusal(SESSION_NOT_FOUND, session_id=session.id)


def require(principal: Principal, verb: str, reach: str = "own") -> None:
    """Refuse a principal that lacks *verb* at *reach*.

    :raises Refusal: FORBIDDEN, naming the permission.
    """
    if not may(principal, verb, reach):
        raise Refusal(FORBIDDEN, f"this needs {verb}:{reach}")


def eyes(principal: Principal) -> tuple[VisibleTo, ...]:
    """Return what a list shows to the principal: the sessions that all of these see; empty means those of everybody."""
    found = []
    for one in sets_of(principal):
        kinds = reaches(one).get("session.list", frozenset())
        if "all" not in kinds:
            wide = not kinds.isdisjoint(WIDE)
            grantees = frozenset({f"user:{principal.user_id}", *(f"team:{team}" for team in principal.teams)})
            found.append(
                VisibleTo(
                    principal.user_id if "own" in kinds else None,
                    principal.teams if "team" in kinds else frozenset(),
                    grantees if wide else frozenset(),
                    kinds - {*WIDE},
                )
            )
    return tuple(found)
