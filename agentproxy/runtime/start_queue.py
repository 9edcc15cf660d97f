"""The queue of starts: so many at once, the rest wait, and the owners take turns.

Within one owner first come is first served; between owners one after the other, so that fifty starts of one person
do not hold up the single one of another.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import zip_longest

from twisted.internet.defer import Deferred

from agentproxy.errors import TOO_MANY_STARTS, Refusal


class Ticket:
    """A place in the queue, and later the right to start; :meth:`release` gives up either, twice without harm."""

    def __init__(self, queue: StartQueue, owner: str) -> None:
        self.owner = owner
        self.admitted: Deferred[None] = Deferred(lambda _gone: self.release())
        self._queue = queue

    @property
    def position(self) -> int | None:
        """Return the place in the queue, counted from 1, or None when it waits no more."""
        return self._queue.position(self)

    def release(self) -> None:
        """Leave the queue, or end the start that this ticket admitted."""
        self._queue.leave(self)


class StartQueue:
    """Admits starts.

    :param max_concurrent: starts at the same time.
    :param max_queued: waiting ones, over all owners.
    :param retry_after: seconds that a refused caller is told to wait.
    """

    def __init__(self, max_concurrent: int, max_queued: int, retry_after: float = 5) -> None:
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._retry_after = retry_after
        self._starting: set[Ticket] = set()
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()

    @property
    def queued(self) -> int:
        """Return how many starts wait."""
        return sum(len(tickets) for tickets in self._waiting.values())

    @property
    def starting(self) -> int:
        """Return how many starts are under way."""
        return len(self._starting)

    def check(self) -> None:
        """Say whether one more start may be asked for.

        :raises Refusal: TOO_MANY_STARTS.
        """
        if len(self._starting) >= self._max_concurrent and self.queued >= self._max_queued:
            details = f"{self.queued} wait already, {self._max_queued} may"
            raise Refusal(TOO_MANY_STARTS, details, retry_after=self._retry_after, facts={"step": "queue"})

    def enter(self, owner: str) -> Ticket:
        """Take a ticket; its ``admitted`` fires when the start may begin.

        :raises Refusal: TOO_MANY_STARTS.
        """
        self.check()
        ticket = Ticket(self, owner)
        self._waiting.setdefault(owner, deque()).append(ticket)
        self._admit()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Forget a ticket, wherever it is, and admit the next."""
        self._starting.discard(ticket)
        waiting = self._waiting.get(ticket.owner)
        if waiting is not None and ticket in waiting:
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[ticket.owner]
        self._admit()

    def position(self, ticket: Ticket) -> int | None:
        """Return when ``ticket`` will be admitted, counted from 1, or None when it does not wait."""
        rounds = zip_longest(*self._waiting.values())
        order = [one for tickets in rounds for one in tickets if one is not None]
        return order.index(ticket) + 1 if ticket in order else None

    def _admit(self) -> None:
        while self._waiting and len(self._starting) < self._max_concurrent:
            owner, tickets = self._waiting.popitem(last=False)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[owner] = tickets
            self._starting.add(ticket)
            ticket.admitted.callback(None)
