"""The numbers of the server for Prometheus, read when somebody asks for them.

What happened is counted from the journal's committed events; what is true now is read from memory at the time of asking.
Nothing here is called on the way of a forwarded request. Labels take names from fixed sets, from the catalogue of agents,
or are ids of sessions that live now, at most :data:`SESSIONS_SHOWN` of them.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
Numbers = Callable[[], Mapping[str, float]]
"""Returns names of :data:`METRICS` and their values."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric.

    :param grows: whether it only grows until the server ends.
    """

    meaning: str
    labels: tuple[str, ...] = ()
    grows: bool = False

    @property
    def shape(self) -> tuple[str, tuple[str, ...]]:
        """Return its help and its labels."""
        return self.meaning, self.labels


METRICS = {
    "info": Row("The version that runs; always 1.", ("version",)),
    "sessions": Row("Sessions that live now.", ("phase", "agent")),
    "agents": Row("Agents of ready sessions by status.", ("status",)),
    "sessions_ended": Row("Ended lives of sessions by reason.", ("reason",), grows=True),
    "start_seconds": Row("Time from the request for a session until it is ready."),
    "start_step_seconds": Row("Time of each step of a start.", ("step",)),
    "deliveries": Row("User messages by each state that they entered.", ("state",), grows=True),
    "events": Row("Events of the journal by type.", ("type",), grows=True),
    "journal_streams": Row("Open streams of the journal, of whatever form."),
    "reactor_lag_seconds": Row("How late the reactor runs what is due."),
    "store_commit_seconds": Row("Time of each transaction of the store."),
    "gateway_connections": Row("Open connections of clients."),
    "gateway_streams": Row("Open event streams of agent servers."),
    "gateway_tunnels": Row("Open WebSocket tunnels."),
    "gateway_requests": Row("Requests forwarded to agent servers.", grows=True),
    "gateway_refused": Row("Requests refused by the gateway.", grows=True),
    "gateway_connects": Row("Connections made to agent servers.", grows=True),
    "gateway_failed": Row("Forwarded requests that an agent server did not answer.", grows=True),
    "gateway_received_bytes": Row("Bytes of bodies and tunnels from clients to agent servers.", grows=True),
    "gateway_sent_bytes": Row("Bytes of answers and tunnels from agent servers.", grows=True),
    "session_cpu_seconds": Row("CPU time of a session's running processes.", ("session",)),
    "session_memory_bytes": Row("Resident memory of a session's processes.", ("session",)),
}
"""Every metric, by its name without ``agentproxy_``; ``python -m agentproxy.features.measuring`` prints them for the docs."""


def shown_name(name: str) -> str:
    """Return the name of a metric as Prometheus sees it."""
    return f"agentproxy_{name}" + "_total" * METRICS[name].grows


def table() -> str:
    """Return the table of docs/metrics.md."""
    rows = (
        f"| `{shown_name(name)}` | {', '.join(f'`{label}`' for label in row.labels)} | {row.meaning} |"
        for name, row in METRICS.items()
    )
    return "\n".join(("| Metric | Labels | Meaning |", "|---|---|---|", *rows)) + "\n"


def _counter(name: str, registry: CollectorRegistry) -> Counter:
    return Counter(f"agentproxy_{name}", *METRICS[name].shape, registry=registry)


def _histogram(name: str, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
    return Histogram(f"agentproxy_{name}", *METRICS[name].shape, registry=registry, buckets=buckets)


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"agentproxy_{name}", METRICS[name].meaning, labels=METRICS[name].labels)


class Measures:
    """Everything that is measured.

    :param living: the sessions that live now.
    :param numbers: further numbers, each told by its owner.
    """

    def __init__(self, reactor: Any, living: Callable[[], Sequence[LivingSession]], numbers: Sequence[Numbers]) -> None:
        self._reactor = reactor
        self._living = living
        self._numbers = numbers
        registry = self._registry = CollectorRegistry()
        self._events = _counter("events", registry)
        self._ends = _counter("sessions_ended", registry)
        self._deliveries = _counter("deliveries", registry)
        self._steps = _histogram("start_step_seconds", registry, _SECONDS)
        self._starts = _histogram("start_seconds", registry, _SECONDS)
        self._lag = _histogram("reactor_lag_seconds", registry, _LAG)
        self._commits = _histogram("store_commit_seconds", registry, _COMMITS)
        version = Gauge("agentproxy_info", *METRICS["info"].shape, registry=registry)
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
        sessions = _gauge("sessions")
        for (phase, agent), count in sorted(now.items()):
            sessions.add_metric([phase.value, agent], count)
        yield sessions
        ready = [one for one in self._living() if one.record.phase is Phase.READY]
        states = _gauge("agents")
        for status, count in sorted(
            Tally(one.agent_status.value if one.agent_status else "unknown" for one in ready).items()
        ):
            states.add_metric([status], count)
        yield states
        for source in self._numbers:
            for name, value in source().items():
                kind = CounterMetricFamily if METRICS[name].grows else GaugeMetricFamily
                yield kind(f"agentproxy_{name}", METRICS[name].meaning, value=value)


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
    cpu, memory = _gauge("session_cpu_seconds"), _gauge("session_memory_bytes")
    for session_id, (seconds, size) in costs.items():
        cpu.add_metric([session_id], seconds)
        memory.add_metric([session_id], size)
    return [cpu, memory]


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
