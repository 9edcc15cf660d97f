"""The API under schemathesis: every route, with what its description allows and with what it does not, bounded in number.

No answer may be a 5xx of ours, of a status, a type or a shape that is not described; what is described as wrong is refused; and
where the server asks who somebody is, nothing is answered to those who do not say.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentproxy.model.push import new_vapid
from tests.daemon import Daemon

pytest.importorskip("schemathesis")
HERE = Path(__file__).parent / "fuzzing"
KEY = "key-of-the-fuzzer"
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "5")
"""Requests for each route beside those that cover its description; more find more."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("asks", [False, True], ids=["open", "asks"])
def test_schemathesis_finds_nothing(asks: bool, tmp_path: Path) -> None:
    """With authentication off and on."""
    (tmp_path / "agentproxy.yaml").write_text(
        f"auth: {{enabled: true, static: {{enabled: true, api_keys: [{{key: {KEY}, user_id: root, role: admin}}]}},"
        " limits: {failed_logins_per_minute: 1000000}}\n" if asks else ""
    )  # fmt: skip
    public, private = new_vapid()
    keys = {"VAPID_PUBLIC_KEY": public, "VAPID_PRIVATE_KEY": private, "VAPID_CONTACT_EMAIL": "a@example.org"}
    daemon = Daemon(tmp_path, settings=keys)
    try:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run",
            f"http://127.0.0.1:{daemon.port}/openapi.json", "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES,
            "--request-timeout", "30", "--continue-on-failure", "--no-color", "--seed", "1",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.web.fuzzing.hooks",
            "PYTHONPATH": str(HERE.parents[2]),
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=380)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert daemon.client.get("/health/ready").status == 200
    finally:
        daemon.stop()
