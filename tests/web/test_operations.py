"""What operators ask: health with reasons, and the numbers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.web.http import Request

from agentproxy.features.measuring import METRICS, Measures, shown_name, table
from agentproxy.model.event import Event
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.web.operations import Operations
from agentproxy.web.routing import Face
from tests.daemon import Daemon

ZERO = datetime(2030, 1, 1, tzinfo=UTC)


def event(number: int, kind: str, seconds: float, **data: Any) -> Event:
    """Return an event of session ``s`` so many seconds after the beginning."""
    return Event(number, "s", kind, ZERO + timedelta(seconds=seconds), data)


def values(text: bytes) -> dict[str, float]:
    """Return sample name with its labels, to value."""
    families = text_string_to_metric_families(text.decode())
    return {
        one.name + "".join(f" {name}={value}" for name, value in sorted(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


@inlineCallbacks
def test_starts_and_events_are_counted_from_the_journal() -> Any:
    """Each step of a start has its time, the whole start too, and every event is counted by its type."""
    measures = Measures(Clock(), tuple, [])
    measures.committed([event(1, "session.queued", 0.0, agent="demo"), event(2, "session.step", 0.5, step="clone")])
    measures.committed([event(3, "session.step", 2.5, step="exec"), event(4, "session.ready", 2.75)])
    measures.committed([event(5, "session.ended", 9, reason="exited")])
    found = values((yield ensureDeferred(measures.text())))
    assert found["agentproxy_start_step_seconds_sum step=queue"] == 0.5
    assert found["agentproxy_start_step_seconds_sum step=clone"] == 2.0
    assert found["agentproxy_start_seconds_sum"] == 2.75
    assert found["agentproxy_events_total type=session.step"] == 2
    assert found["agentproxy_sessions_ended_total reason=exited"] == 1


@inlineCallbacks
def test_labels_come_from_fixed_sets() -> Any:
    """Deliveries are counted by state, transactions timed; a name that this version does not know makes no new label."""
    measures = Measures(Clock(), tuple, [])
    for number, state in enumerate(("accepted", "typing", "answered", "accepted", "dreamt")):
        measures.committed([event(number, "delivery", 0.0, state=state)])
    measures.committed([event(9, f"of the future {number}", 0.0) for number in range(20)])
    measures.store_took(0.002)
    found = values((yield ensureDeferred(measures.text())))
    assert found["agentproxy_deliveries_total state=accepted"] == 2
    assert found["agentproxy_deliveries_total state=other"] == 1
    assert found["agentproxy_events_total type=other"] == 20
    assert not any("future" in name or "dreamt" in name for name in found)
    assert found["agentproxy_store_commit_seconds_bucket le=0.0025"] == 1


@inlineCallbacks
def test_the_lag_of_the_reactor_is_measured() -> Any:
    """A reactor that comes late is seen; nothing is left on the clock afterwards."""
    clock = Clock()
    measures = Measures(clock, tuple, [lambda: {"gateway_requests": 7.0}])
    measures.start()
    clock.advance(0.5)
    clock.advance(0.9)
    found = values((yield ensureDeferred(measures.text())))
    assert found["agentproxy_reactor_lag_seconds_count"] == 2
    assert found["agentproxy_reactor_lag_seconds_sum"] == pytest.approx(0.4)
    assert found["agentproxy_gateway_requests_total"] == 7
    measures.stop()
    measures.stop()
    assert clock.getDelayedCalls() == []


async def nothing() -> bytes:
    """Return no numbers."""
    return b""


def ask(caller: Principal, path: str, trouble: str | None = None) -> tuple[int, bytes]:
    """Return status and body of one question."""

    async def identify(_request: Request) -> Principal:
        return caller

    client = StubTreq(Face([Operations({"store": lambda: trouble}, nothing)], identify).app.resource())
    asking = client.get(f"http://proxy.test{path}")
    client.flush()
    answered = asking.result
    return answered.code, client.content(answered).result


def test_readiness_names_what_is_not_ready() -> None:
    """503 and the sentence of what cannot be used; 200 when all is well; liveness does not care."""
    assert ask(LOCAL, "/health/ready")[0] == 200
    code, body = ask(LOCAL, "/health/ready", "the disk is full")
    assert (code, json.loads(body)["checks"]) == (503, {"store": "the disk is full"})
    assert ask(LOCAL, "/health/live", "the disk is full") == (200, b'{"status":"ok"}')


def test_numbers_are_for_those_who_may_read_them() -> None:
    """Somebody without the permission is refused."""
    assert ask(Principal("ann"), "/metrics")[0] == 403
    assert ask(LOCAL, "/metrics")[0] == 200


@inlineCallbacks
def test_every_number_is_in_the_table_and_documented() -> Any:
    """What is shown is what the table of metrics has, and docs/metrics.md has that table."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert table() in page, "paste the output of python -m agentproxy.features.measuring into docs/metrics.md"
    told = {name: 1.0 for name in METRICS if name.startswith("gateway_") or name == "journal_streams"}
    text = yield ensureDeferred(Measures(reactor, tuple, [lambda: told]).text())
    shown = set(re.findall(r"^# HELP (\w+)", text.decode(), re.MULTILINE))
    assert {name for name in shown if not name.endswith("_created")} == {shown_name(name) for name in METRICS}


def test_a_daemon_tells_every_number(tmp_path: Path) -> None:
    """The daemon knows a value for each row of the table, with a session that lives."""
    daemon = Daemon(tmp_path)
    try:
        session = daemon.start(message="hello")
        with daemon.client.events(f"/{session}/events") as events:
            events.until_message("You said: hello")
            text = daemon.client.get("/metrics").body.decode()
        found = set(re.findall(r"^(agentproxy_\w+?)(?:_bucket|_sum|_count)?[ {]", text, re.MULTILINE))
        ends = {"agentproxy_sessions_ended_total"}  # of a session that has ended
        assert {shown_name(name) for name in METRICS} - ends <= found
        assert "agentproxy_gateway_streams 1.0" in text
        assert f'agentproxy_session_memory_bytes{{session="{session}"}}' in text
    finally:
        daemon.stop()


def test_the_dashboard_asks_only_for_what_is_there() -> None:
    """Each metric that conf/grafana.json names is documented."""
    root = Path(__file__).parents[2]
    page = (root / "docs" / "metrics.md").read_text(encoding="utf-8")
    dashboard = json.loads((root / "conf" / "grafana.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"agentproxy_\w+", target["expr"])
    }
    missing = {name for name in asked if f"`{re.sub('_(bucket|sum|count)$', '', name)}`" not in page}
    assert asked
    assert not missing
