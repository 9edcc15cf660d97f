"""An open store, and the proof that it leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from agentproxy.store import Store
from tests.store.making import a_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open store on a new file; afterwards it is closed and its threads are gone."""
    opened = a_store(tmp_path)
    pytest_twisted.blockon(Deferred.fromCoroutine(opened.open()))
    yield opened
    pytest_twisted.blockon(Deferred.fromCoroutine(opened.close()))
    assert [t.name for t in threading.enumerate() if "agentproxy-store" in t.name] == []
