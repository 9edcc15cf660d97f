"""When sessions end by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agentproxy.features.culling import CullingTerms, Patience, due
from agentproxy.model.session import Phase, Session

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SESSION = Session("s", "alice", "demo", Phase.READY, NOON, NOON, ready_at=NOON)


def test_the_users_patience_goes_before_the_agents() -> None:
    """And that before what holds for all; 0 is without end."""
    terms = CullingTerms(
        Patience(idle=100, age=1000),
        agents={"demo": Patience(idle=50, ended=5)},
        users={"alice": Patience(idle=0)},
    )
    assert terms.of("alice", "demo") == Patience(None, 1000, 5)
    assert terms.of("bob", "demo") == Patience(50, 1000, 5)
    assert terms.of("bob", "claude") == Patience(100, 1000, None)


def test_an_idle_session_is_due_after_its_last_activity() -> None:
    """One that works, or waits for a person, is not idle."""
    active = NOON + timedelta(seconds=40)
    found = due(SESSION, active, True, Patience(idle=60))
    assert found is not None
    assert (found.at, found.reason) == (active + timedelta(seconds=60), "idle")
    assert due(SESSION, active, False, Patience(idle=60)) is None


def test_the_sooner_end_counts() -> None:
    """Age is counted from when it was ready, whatever happens in it."""
    found = due(SESSION, NOON + timedelta(seconds=50), False, Patience(idle=60, age=80))
    assert found is not None
    assert (found.at, found.reason) == (NOON + timedelta(seconds=80), "max_age")
    sooner = due(SESSION, NOON, True, Patience(idle=60, age=80))
    assert sooner is not None
    assert sooner.reason == "idle"
