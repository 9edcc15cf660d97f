"""GitHub and an OpenID Connect provider as a child process, and a daemon whose users they know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.journeys.people import GuardedDaemon
from tests.wire import Client

CLIENT_SECRET = "secret"  # what the fake GitHub wants


class ProvidersProcess:
    """Both providers; see ``tests/auth/providers_server.py``."""

    def __init__(self) -> None:
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.auth.providers_server"], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.client = Client("127.0.0.1", self.port)

    def set(self, **wanted: Any) -> None:
        """Change attributes of ``github`` and ``oidc``."""
        assert self.client.post_json("/control", wanted).status == 200

    def told(self) -> dict[str, Any]:
        """Return what was asked and revoked."""
        found: dict[str, Any] = self.client.get("/control").json()
        return found

    def agree(self, address: str) -> str:
        """Do what the browser does at a log-in page: return where it is sent back to."""
        path = address.partition(f":{self.port}")[2]
        return self.client.get(path).headers["Location"]

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class KnowingDaemon(GuardedDaemon):
    """A daemon with static keys, GitHub and OpenID Connect at once."""

    def __init__(self, directory: Path, providers: ProvidersProcess, **more: Any) -> None:
        self.providers = providers
        github = {
            "enabled": True,
            "base_url": f"http://127.0.0.1:{providers.port}/api/v3",
            "oauth": {"client_id": "app", "client_secret": CLIENT_SECRET},
            "cache_seconds": 1,
            "user_mapping": {"team_role_mapping": {"acme/ops": {"role": "admin", "env_file": "ops.env"}}},
        }
        oidc = {"issuer": f"http://127.0.0.1:{providers.port}/realm", "client_id": "agentproxy"}
        settings = more.pop("settings", {})
        super().__init__(directory, settings, github=github, oidc=oidc, **more)

    def log_in(self, redirect_uri: str = "http://localhost:3000/", provider: str = "github") -> dict[str, Any]:
        """Log a program in and return what was issued."""
        wish = {"redirect_uri": redirect_uri, "provider": provider}
        begun = json.loads(self.ask(None, "POST", "/oauth/authorize", wish).body)
        query = self.providers.agree(begun["auth_url"]).partition("?")[2]
        reply = self.client.get(f"/oauth/callback?{query}")
        assert reply.status == 200, reply.body
        issued: dict[str, Any] = reply.json()
        return issued
