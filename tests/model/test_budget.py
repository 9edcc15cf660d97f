"""Budgets: which accounts pay, and how they stand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentproxy.model.budget import Account, Budget, Spent, applying, level, subjects

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)
PAYING = subjects("s1", "alice", "org/team")


def test_session_user_and_team_pay() -> None:
    """Each from an account of its own and of the present period; a named budget goes before a general one."""
    budgets = [
        Budget("session", "turns", 10),
        Budget("user", "turns", 20, "day"),
        Budget("user alice", "turns", 200, "day"),
        Budget("team", "turns", 30, "month"),
        Budget("user", "starts", 3, "day"),
        Budget("user bob", "turns", 1, "day"),
    ]
    assert applying(budgets, PAYING, "turns", NOON) == [
        (Account("session s1", "turns", "all"), 10),
        (Account("user alice", "turns", "2030-01-31"), 200),
        (Account("team org/team", "turns", "2030-01"), 30),
    ]


@pytest.mark.parametrize(
    ("used", "lifted", "state"),
    [(0, 0, ""), (7, 0, ""), (8, 0, "near"), (10, 0, "spent"), (10, 5, ""), (15, 5, "spent")],
)
def test_how_an_account_stands(used: int, lifted: int, state: str) -> None:
    """Near at 80 %, spent at 100 %, fine again when it is lifted."""
    account = Account("user alice", "turns", "all")
    assert level(account, 10, {account: Spent(account, used, lifted)}).state == state


def test_minutes_are_kept_as_seconds() -> None:
    """An hour's budget is spent by sixty minutes of work."""
    account = Account("user alice", "minutes", "all")
    assert level(account, 60, {account: Spent(account, 3599)}).used == 59
    assert level(account, 60, {account: Spent(account, 3600)}).state == "spent"
