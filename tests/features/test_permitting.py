"""What owners do all day is let through in one look, and nothing that would be refused or noted is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentproxy.features.permitting import Permits
from agentproxy.model.audit import Attempt
from agentproxy.model.permission import Grant, effective
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Phase, Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = Session("s", "ann", "demo", Phase.READY, NOW, NOW)
OWNER = Principal("ann", "user", effective("user"), source="static")
LIMITED = replace(OWNER, scopes=frozenset({"session.list"}))
OTHER = Principal("bob", "user", effective("user"), source="static")
ADMIN = Principal("eve", "admin", effective("admin"), source="static")


@pytest.mark.parametrize("session", [SESSION, replace(SESSION, deleted_at=NOW), replace(SESSION, owner="local")])
@pytest.mark.parametrize("verb", ["session.read", "session.list", "session.message", "session.stop"])
@pytest.mark.parametrize("who", [OWNER, LIMITED, OTHER, ADMIN, LOCAL])
def test_the_short_look_lets_through_nothing_that_the_long_one_would_not(
    who: Principal, verb: str, session: Session
) -> None:
    """Whoever is let through at once would have been let through, and nothing would have been noted."""
    noted: list[Attempt] = []
    permits = Permits(noted.append)
    permits.load([Grant("s", "user:bob", "read")])
    short = permits.lets(who, verb, session)
    assert not noted
    refused = permits.refusal(who, verb, session)
    assert short == (refused is None and not noted)


def test_an_owner_who_reads_is_let_through_at_once() -> None:
    """The look that is asked for every forwarded request says yes to whom it is made for."""
    assert Permits().lets(OWNER, "session.read", SESSION)
    assert not Permits().lets(OTHER, "session.read", SESSION)
