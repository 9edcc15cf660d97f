"""The numbers of the server for Prometheus, read when somebody asks for them.

What happened is counted from the journal's committed events; what is true now is read from memory at the time of asking.
Nothing here is called on the way of a forwarded request. Labels take names from fixed sets, from the catalogue of agents,
or are ids of sessions that live now, at most :data:`SESSIONS_SHOWN` of them.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy import __version__
from agentproxy.features.living import LivingSession
from agentproxy.model.delivery import DeliveryState
from agentproxy.model.event import KINDS, Event
from agentproxy.model.session import Phase
from agentproxy.runtime import cgroups

log = Logger()

SESSIONS_SHOWN = 500
LAG_EVERY = 0.5
"""Seconds between two looks at how late the reactor is."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LAG = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER = "other"
"""The label of what this version has no name for."""
_STATES = frozenset(one.value for one in DeliveryState)
_STARTING = ("session.queued", "session.restarted", "session.step", "session.ready", "session.ended")
Numbers = Callable[[], Iterable[tuple[str, str, bool, float]]]
"""Returns rows of name, help, whether it only grows, value."""


class Measures:
    """Everything that is measured.

    :param living: the sessions that live now.
    :param numbers: further numbers, each told by its owner.
    """

    def __init__(self, reactor: Any, living: Callable[[], Sequence[LivingSession]], numbers: Sequence[Numbers]) -> None:
        self._reactor = reactor
        self._living = living
        self._numbers = numbers
        self._registry = CollectorRegistry()
        self._events = Counter("agentproxy_events", "Events of the journal by type.", ["type"], registry=self._registry)
        self._ends = Counter(
            "agentproxy_sessions_ended", "Ended lives of sessions by reason.", ["reason"], registry=self._registry
        )
        self._steps = Histogram(
            "agentproxy_start_step_seconds", "Time of each step of a start.", ["step"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._starts = Histogram(
            "agentproxy_start_seconds", "Time from the request for a session until it is ready.", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._lag = Histogram(
            "agentproxy_reactor_lag_seconds", "How late the reactor runs what is due.", buckets=_LAG,
            registry=self._registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "agentproxy_deliveries", "Deliveries by the state that they entered.", ["state"], registry=self._registry
        )
        self._commits = Histogram(
            "agentproxy_store_commit_seconds", "Time of each transaction of the store.", buckets=_COMMITS,
            registry=self._registry,
        )  # fmt: skip
        version = Gauge("agentproxy_info", "The version that runs.", ["version"], registry=self._registry)
        version.labels(__version__).set(1)
        self._registry.register(_Now(self._collect))
        self._under_way: dict[str, tuple[float, str, float]] = {}
        self._due = 0.0
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    # -- counting

    def start(self) -> None:
        """Begin to measure the reactor."""
        self._due = self._reactor.seconds() + LAG_EVERY
        self._looking.start(LAG_EVERY, now=False).addErrback(
            lambda failure: log.failure("The reactor's lag is measured no more", failure)
        )

    def stop(self) -> None:
        """End it; twice does no harm."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        now = self._reactor.seconds()
        self._lag.observe(max(0.0, now - self._due))
        self._due = now + LAG_EVERY

    def committed(self, events: Sequence[Event]) -> None:
        """Count events of the journal."""
        for event in events:
            self._events.labels(event.kind if event.kind in KINDS else OTHER).inc()
            if event.kind == "delivery":
                state = str(event.data.get("state"))
                self._deliveries.labels(state if state in _STATES else OTHER).inc()
            if event.kind in _STARTING:
                self._follow_start(event)

    def store_took(self, seconds: float) -> None:
        """Note how long a transaction of the store took; from any thread."""
        self._commits.observe(seconds)

    def _follow_start(self, event: Event) -> None:
        now = event.time.timestamp()
        begun, step, since = self._under_way.pop(event.session_id, (now, "queue", now))
        if event.kind == "session.ended":
            self._ends.labels(str(event.data.get("reason", "unknown"))).inc()
        elif event.kind in ("session.queued", "session.restarted"):
            self._under_way[event.session_id] = (now, "queue", now)
        else:
            self._steps.labels(step).observe(max(0.0, now - since))
            if event.kind == "session.ready":
                self._starts.observe(max(0.0, now - begun))
            else:
                self._under_way[event.session_id] = (begun, str(event.data.get("step", "unknown")), now)

    # -- reading

    async def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        groups = {
            one.record.id: (one.incarnation.cgroup, one.incarnation.pid)
            for one in self._living()[:SESSIONS_SHOWN]
            if one.incarnation is not None
        }
        costs = await deferToThread(costs_of, groups)
        return generate_latest(self._registry) + generate_latest(_Only(_cost_metrics(costs)))

    def _collect(self) -> Iterator[Metric]:
        now = Tally((one.record.phase, one.record.agent) for one in self._living())
        sessions = GaugeMetricFamily("agentproxy_sessions", "Sessions that live now.", labels=["phase", "agent"])
        for (phase, agent), count in sorted(now.items()):
            sessions.add_metric([phase.value, agent], count)
        yield sessions
        ready = [one for one in self._living() if one.record.phase is Phase.READY]
        states = GaugeMetricFamily("agentproxy_agents", "Agents of ready sessions by status.", labels=["status"])
        for status, count in sorted(
            Tally(one.agent_status.value if one.agent_status else "unknown" for one in ready).items()
        ):
            states.add_metric([status], count)
        yield states
        for source in self._numbers:
            for name, meaning, grows, value in source():
                kind = CounterMetricFamily if grows else GaugeMetricFamily
                yield kind(f"agentproxy_{name}", meaning, value=value)


class _Now:
    """A collector of what is true now."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


class _Only(CollectorRegistry):
    """A registry of metrics that are there already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self._only = metrics

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._only


def costs_of(groups: Mapping[str, tuple[str | None, int | None]]) -> dict[str, tuple[float, int]]:
    """Return CPU seconds and resident bytes of each session's processes that run now; for a thread.

    :param groups: session id to its cgroup and the pid of its agent server.
    """
    return {session_id: _cost(_members(group, pid)) for session_id, (group, pid) in groups.items()}


def _members(group: str | None, pid: int | None) -> list[int]:
    found = cgroups.members(Path(group)) if group is not None else []
    if found or pid is None:
        return found
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


def _cost(pids: Sequence[int]) -> tuple[float, int]:
    cpu, memory = 0.0, 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu, memory = cpu + times.user + times.system, memory + process.memory_info().rss
        except psutil.Error:
            continue
    return cpu, memory


def _cost_metrics(costs: Mapping[str, tuple[float, int]]) -> list[Metric]:
    cpu = GaugeMetricFamily(
        "agentproxy_session_cpu_seconds", "CPU time of a session's running processes.", labels=["session"]
    )
    memory = GaugeMetricFamily(
        "agentproxy_session_memory_bytes", "Resident memory of a session's processes.", labels=["session"]
    )
    for session_id, (seconds, size) in costs.items():
        cpu.add_metric([session_id], seconds)
        memory.add_metric([session_id], size)
    return [cpu, memory]
