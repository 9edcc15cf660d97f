"""Options about approvals, budgets and the end of sessions that nobody uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agentproxy.config.fields import NOTHING, Rule, not_negative, option, positive, required

POSITIVE: Rule = {"expected": "a number above 0", "check": positive}
COUNT: Rule = {"expected": "a number of 0 or more", "check": not_negative}


@dataclass(frozen=True, slots=True, kw_only=True)
class PatienceOptions:
    """How long the sessions of one agent or user may live; missing means what holds for all, 0 means without end."""

    idle_timeout: float | None = option(None, "Without a message, an answer or a key.", unit="seconds", **COUNT)
    max_age: float | None = option(None, "Since it was ready.", unit="seconds", **COUNT)
    ended_retention: float | None = option(None, "In the lists after its end.", unit="seconds", **COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class CullingOptions:
    """When sessions end by themselves. A session that works or waits for a person is not idle."""

    idle_timeout: float | None = option(
        None,
        "Without a message, an answer or a key, then the session ends; never when missing.",
        unit="seconds",
        **COUNT,
    )
    max_age: float | None = option(
        None,
        "Since the session was ready, then it ends, also in mid-turn; never when missing.",
        unit="seconds",
        **COUNT,
    )
    ended_retention: float | None = option(
        None, "After its end a session leaves the lists; never when missing.", unit="seconds", **COUNT
    )
    warning: float = option(60.0, "How long before its end a session tells it as an event.", unit="seconds", **COUNT)
    agents: Mapping[str, PatienceOptions] = option(NOTHING, "Other times for the sessions of an agent, by its name.")
    users: Mapping[str, PatienceOptions] = option(
        NOTHING, "Other times for the sessions of a user, by name; they go before those of the agent."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRuleOptions:
    """One answer given beforehand."""

    command: str = required("What is to be approved: a pattern with `*` and `?`; `pytest*` is not `pytest; rm x`.")
    answer: Literal["allow", "deny"] = option("allow", "The answer; a denying rule goes before an allowing one.")
    agent: str = option("", "Only sessions of this agent.")
    repository: str = option("", "Only sessions of this repository, `owner/name`.")
    user: str = option("", "Only sessions of this user.")
    until: str = option("", "ISO 8601 time with zone at which the rule ends; never when empty.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalOptions:
    """Approvals that agents want."""

    expire_after: float | None = option(
        None, "An approval that nobody answers is over then; never when missing.", unit="seconds", **POSITIVE
    )
    deny_expired: bool = option(True, "Answer an approval that is over with no; else its question stands on.")
    rules: tuple[ApprovalRuleOptions, ...] = option(
        (), "Answers given beforehand: a list of `{command, answer, agent, repository, user, until}`.",
        danger="Every session that a rule reaches runs what it allows without a person.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOptions:
    """One limit on what is spent."""

    subject: str = required("`session`, `user` or `team` for each of them, or one by name: `user alice`.")
    measure: Literal["turns", "minutes", "starts"] = required("Messages typed, minutes of work, or sessions started.")
    limit: int = required(
        "How many in a period; at 80 % an event tells it, at 100 % messages wait and starts are refused."
    )
    per: Literal["day", "month", "all"] = option("all", "The period, in UTC; `all` is for ever.")
