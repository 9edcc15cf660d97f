"""Everything about messages, attention, approvals, budgets and culling, put together from the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from agentproxy.config import Config
from agentproxy.config.message_options import ApprovalRuleOptions, CullingOptions, PatienceOptions
from agentproxy.features.approval_rules import Rules
from agentproxy.features.approvals import Approvals, ApprovalTerms
from agentproxy.features.attending import House
from agentproxy.features.budgets import Budgets
from agentproxy.features.culling import Culler, CullingTerms, Patience
from agentproxy.features.deliveries import Deliveries
from agentproxy.features.permitting import Permits
from agentproxy.features.repeating import Starts
from agentproxy.features.sessions import Sessions
from agentproxy.model.approval import Rule
from agentproxy.model.budget import Budget
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import SERVER, Principal
from agentproxy.store import Store
from agentproxy.web.approvals import ApprovalRoutes
from agentproxy.web.deliveries import DeliveryRoutes

log = Logger()


class Attendance:
    """The parts of this file's subject.

    :ivar house: the attendants of all living sessions.
    :ivar starts: starts sessions, each Idempotency-Key once.
    :ivar parts: what answers requests.
    :raises ValueError: a rule of the configuration has a wrong time.
    """

    def __init__(self, config: Config, store: Store, sessions: Sessions, permits: Permits, reactor: Any) -> None:
        self._store = store
        self._guards = config.gateway.guard_approvals
        deliveries = Deliveries(store, sessions, reactor)

        def note(
            who: Principal, verb: str, session_id: str | None, allowed: bool, reason: str, facts: Mapping[str, object]
        ) -> None:
            permits.note(who, verb, session_id, allowed, reason, **facts)

        rules = Rules(store, [_rule(number, one) for number, one in enumerate(config.approvals.rules)], note)
        terms = ApprovalTerms(config.approvals.expire_after, config.approvals.deny_expired)
        self._approvals = Approvals(store, sessions, rules, terms, note, reactor)
        budgets = [Budget(one.subject, one.measure, one.limit, one.per) for one in config.budgets]
        self._budgets = Budgets(store, budgets, self._tell, note)
        self.house = House(deliveries, self._approvals, self._budgets, reactor)
        self.starts = Starts(sessions, store)
        self.parts = (
            DeliveryRoutes(deliveries, self.house, sessions, note),
            ApprovalRoutes(
                self._approvals,
                self._budgets,
                sessions,
                lambda who, session: permits.look(who, "session.read", session) is None,
            ),
        )
        self._culler = Culler(
            self.house, store, _culling(config.culling), lambda session_id: sessions.delete(SERVER, session_id), reactor
        )

    async def open(self) -> None:
        """Read what the store has; before any session lives."""
        await self._budgets.open()
        await self._approvals.open()

    def guard(self, who: Principal, session_id: str, body: bytes | None) -> Deferred[None]:
        """Return a Deferred that fires when a message that is posted to the agent server itself may pass.

        It fails with APPROVAL_WAITING or KEYBOARD_TAKEN. A body that could not be looked at counts as a user's message.
        """
        return maybeDeferred(self.house.direct, who, session_id, kind_of(body), guarded=self._guards)

    def start(self) -> None:
        """Begin to end what nobody uses."""
        self._culler.start()

    def stop(self) -> None:
        """Stop every clock; twice does no harm."""
        self._culler.stop()
        self.house.close()

    def _tell(self, session_id: str, facts: dict[str, Any]) -> None:
        event = NewEvent(session_id, "budget", datetime.now(UTC), facts)
        Deferred.fromCoroutine(self._store.append([event])).addErrback(
            lambda failure: log.failure("A budget's event could not be kept", failure)
        )


def kind_of(body: bytes | None) -> str:
    """Return ``raw`` for a body that says so, else ``user``; the agent server takes keys in any case, the last one counts."""
    try:
        found = json.loads(body or b"")
    except ValueError:
        return "user"
    kinds = [value for name, value in found.items() if name.lower() == "type"] if isinstance(found, dict) else []
    return "raw" if kinds and all(one == "raw" for one in kinds) else "user"


def _rule(number: int, one: ApprovalRuleOptions) -> Rule:
    until = None
    if one.until:
        try:
            until = datetime.fromisoformat(one.until)
        except ValueError:
            raise ValueError(f"approvals.rules[{number}].until: expected an ISO 8601 time") from None
        if until.tzinfo is None:
            raise ValueError(f"approvals.rules[{number}].until: expected a time with its zone")
    return Rule(f"configured-{number + 1}", one.user, one.command, one.answer, one.agent, one.repository, until)


def _patience(one: PatienceOptions | CullingOptions) -> Patience:
    return Patience(one.idle_timeout, one.max_age, one.ended_retention)


def _culling(config: CullingOptions) -> CullingTerms:
    agents = {name: _patience(one) for name, one in config.agents.items()}
    users = {name: _patience(one) for name, one in config.users.items()}
    return CullingTerms(_patience(config), agents, users, config.warning)
