"""Settings of the whole suite."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from agentproxy.store import journal

# A property is about values, not about time: a busy machine is no reason to fail.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# An event of a kind that is not in the table is a defect here; a server keeps it and says so.
journal.strict = True


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users of this machine may pass through, which pytest's own forbids again with each run."""
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path
