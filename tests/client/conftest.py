"""One daemon for all tests of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import Daemon


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the demo agent below the embedded server; ended afterwards."""
    running = Daemon(tmp_path_factory.mktemp("daemon"))
    yield running
    running.stop()
