"""Who may do what: a matrix made of the table of verbs, reaches and relations, and what the other names mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentproxy.errors import FORBIDDEN, SESSION_NOT_FOUND
from agentproxy.model.permission import (
    GRANTED,
    PEER,
    ROLES,
    SAME_ROLES,
    SESSION_VERBS,
    VERBS,
    WIDE,
    Grant,
    covers,
    decide,
    effective,
    eyes,
    may,
    problem,
    reaches,
    refusal,
)
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Phase, Session

ID = "fce5c9d5-8f73-4675-aebc-073f72ec9d65"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWN = Session(ID, "ann", "demo", Phase.READY, NOW, NOW)
RELATIONS = {
    "own": OWN,
    "of the team": replace(OWN, owner="bob", scope="team", team_id="o/t"),
    "of another team": replace(OWN, owner="bob", scope="team", team_id="o/x"),
    "of a colleague": replace(OWN, owner="bob", team_id="o/t"),
    "of a stranger": replace(OWN, owner="bob"),
}
REACHED = {"own": {"own"}, "team": {"of the team"}, "all": set(RELATIONS), ID: set(RELATIONS)}


def ann(*permissions: str, scopes: frozenset[str] | None = None) -> Principal:
    """Return Ann of the team o/t with these permissions."""
    return Principal("ann", "user", frozenset(permissions), frozenset({"o/t"}), scopes=scopes)


@pytest.mark.parametrize("verb", SESSION_VERBS)
@pytest.mark.parametrize("reach", [*WIDE, ID])
@pytest.mark.parametrize("relation", RELATIONS)
def test_a_permission_reaches_what_its_reach_says(verb: str, reach: str, relation: str) -> None:
    """Each verb at each reach allows exactly the sessions of that reach, and no other verb."""
    session, caller = RELATIONS[relation], ann(f"{verb}:{reach}")
    for asked in SESSION_VERBS:
        assert decide(caller, asked, session).allowed == (asked == verb and relation in REACHED[reach])


@pytest.mark.parametrize("access", GRANTED)
@pytest.mark.parametrize("verb", SESSION_VERBS)
@pytest.mark.parametrize("grantee", ["user:ann", "team:o/t", "user:zoe", "team:o/x", "user:o/t", "ann", ""])
def test_a_grant_widens_what_one_has(access: str, verb: str, grantee: str) -> None:
    """A grant opens a stranger's session for the verbs of its access, to whom it names, and gives no verb that one lacks."""
    session, grants = RELATIONS["of a stranger"], [Grant(ID, grantee, access)]
    named = grantee in ("user:ann", "team:o/t")
    assert decide(ann(f"{verb}:own"), verb, session, grants).allowed == (named and verb in GRANTED[access])
    assert not decide(ann(), verb, session, grants).allowed
    assert not decide(ann(f"{verb}:own", scopes=frozenset()), verb, session, grants).allowed


def test_whoever_may_not_read_cannot_tell_it_from_a_missing_one() -> None:
    """Without session.read the refusal is "not found"; with it, the missing permission is named."""
    stranger = refusal(ann("session.read:own", "session.stop:own"), "session.stop", RELATIONS["of a stranger"])
    assert stranger is not None
    assert stranger.kind is SESSION_NOT_FOUND
    reader = refusal(ann("session.read:all"), "session.stop", RELATIONS["of a stranger"])
    assert reader is not None
    assert (reader.kind, reader.details) == (FORBIDDEN, "this needs session.stop")
    deleted = refusal(LOCAL, "session.read", replace(OWN, deleted_at=NOW))
    assert deleted is not None
    assert deleted.kind is SESSION_NOT_FOUND


def test_the_scopes_of_a_token_only_take_away() -> None:
    """What a limited token does must be allowed by its owner's permissions and by its scopes."""
    limited = ann("*", scopes=frozenset({"session.read:own", f"session.stop:{ID}"}))
    assert decide(limited, "session.read", OWN).allowed
    assert not decide(limited, "session.read", RELATIONS["of a stranger"]).allowed
    assert not decide(limited, "session.delete", OWN).allowed
    assert decide(limited, "session.stop", RELATIONS["of a stranger"]).allowed
    assert not decide(ann("session.read:own", scopes=frozenset({"*"})), "session.stop", OWN).allowed
    assert not may(limited, "admin.tokens")
    assert not may(ann("*:own"), "admin.tokens")
    assert decide(ann("*:own"), "session.delete", OWN).allowed
    assert may(ann("*"), "admin.tokens")


@pytest.mark.parametrize("role", [*ROLES, *SAME_ROLES, "unknown"])
def test_a_role_holds_known_permissions_only(role: str) -> None:
    """Whatever a role gives is a permission; only the administrator has those of administration."""
    permissions = effective(role)
    assert [problem(one) for one in permissions if problem(one)] == []
    has_admin = any(verb.startswith("admin.") for verb in reaches(permissions))
    assert has_admin == (role == "admin")
    everywhere = {verb for verb, kinds in reaches(permissions).items() if "all" in kinds}
    assert everywhere == (set(VERBS) if role == "admin" else set())
    assert bool(permissions) == (role not in ("none", "unknown"))


@pytest.mark.parametrize("name", PEER)
def test_the_peers_names_reach_everybody_only_as_administrator(name: str) -> None:
    """As in agentapi-proxy: a permission alone reaches the own sessions, with the role admin everybody's."""
    user, admin = effective("user", [name]), effective("admin", [name])
    if name != "admin":
        assert not any("all" in kinds for kinds in reaches(user).values())
        assert not any(verb.startswith(("admin.", "audit.")) for verb in reaches(user))
    assert all(kinds == {"all"} for kinds in reaches(admin).values())
    assert reaches(admin)


def test_the_seeds_key_of_a_user_does_what_it_did() -> None:
    """create, list, delete and access: everything with one's own sessions, nothing with others'."""
    caller = ann(*effective("user", ["session:create", "session:list", "session:delete", "session:access"]))
    assert all(decide(caller, verb, OWN).allowed for verb in SESSION_VERBS)
    assert not any(decide(caller, verb, RELATIONS["of a stranger"]).allowed for verb in SESSION_VERBS)
    assert not decide(caller, "session.delete", RELATIONS["of the team"]).allowed


@pytest.mark.parametrize(
    "wrong", ["session.fly", "session.read:everybody", "session", "", "**", "audit.read:" + ID, "sess*", "admin.*x"]
)
def test_what_is_no_permission_is_named_and_gives_nothing(wrong: str) -> None:
    """A typing error is told, and never opens anything."""
    assert problem(wrong) is not None
    assert not any(decide(ann(wrong), verb, OWN).allowed for verb in SESSION_VERBS)


def test_a_list_shows_what_may_be_listed() -> None:
    """Own, team, shared and single sessions; nothing without session.list; everything with it everywhere."""
    assert eyes(LOCAL) == ()
    [seen] = eyes(ann("session.list:own", "session.list:team"))
    assert (seen.user_id, seen.teams, seen.grantees) == ("ann", {"o/t"}, {"user:ann", "team:o/t"})
    [blind] = eyes(ann("session.read:all"))
    assert (blind.user_id, blind.teams, blind.grantees, blind.ids) == (None, frozenset(), frozenset(), frozenset())
    both = eyes(ann("session.list:own", scopes=frozenset({f"session.list:{ID}"})))
    assert [one.ids for one in both] == [frozenset(), {ID}]


@pytest.mark.parametrize("verb", VERBS)
def test_what_one_has_covers_what_one_gives(verb: str) -> None:
    """Each verb at each reach is covered by itself, by everywhere and by everything, and by no other reach or verb."""
    for reach in (*WIDE, ID):
        wanted = frozenset({f"{verb}:{reach}"})
        assert covers(ann("*"), wanted)
        assert covers(ann(f"{verb}:{reach}"), wanted)
        assert covers(ann(f"{verb}:all"), wanted)
        assert not covers(ann(*(f"{other}:all" for other in VERBS if other != verb)), wanted)
        assert covers(ann(f"{verb}:own"), wanted) == (reach == "own")
        assert not covers(ann("*", scopes=frozenset({"session.list:own"} - wanted)), wanted)
    assert not covers(ann(f"{verb}:all"), frozenset({"*"}))
