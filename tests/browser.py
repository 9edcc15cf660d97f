"""A real browser for tests: Chromium without a window, told what to do over a pipe (the DevTools protocol)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from typing import Any

import pytest

from tests.waiting import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One browser with one page."""

    def __init__(self) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip("no Chromium on PATH (on Debian: apt-get install chromium)")
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        asks, self._ask = os.pipe()
        self._answers, answers = os.pipe()
        words = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
            f"--user-data-dir={self._profile.name}", "about:blank",
        ]  # fmt: skip
        # The browser reads its descriptor 3 and writes to 4; a shell puts them there.
        script = f'exec "$@" 3<&{asks} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words],
            pass_fds=(asks, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(asks)
        os.close(answers)
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command."""
        self._number += 1
        wanted: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            wanted["sessionId"] = self._session
        os.write(self._ask, json.dumps(wanted).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 65536)
            assert part, "the browser has ended"
            self._rest += part
        one, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def go(self, address: str) -> None:
        """Open a page."""
        self.tell("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives in the page; None while there is no page."""
        return self.tell("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self, name: str) -> str:
        """Return the text of the element with an id."""
        return str(self.value(f"document.getElementById({name!r})?.textContent") or "")

    def wait_text(self, name: str, wanted: str) -> str:
        """Return the text of an element when it contains what is wanted."""
        return wait_for(f"{wanted!r} in {name}", lambda: (text := self.text(name)) and wanted in text and text)

    def click(self, name: str) -> None:
        """Press the button with an id as soon as it can be pressed."""
        wait_for(f"the button {name}", lambda: self.value(f"document.getElementById({name!r})?.disabled === false"))
        self.value(f"document.getElementById({name!r}).click()")

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._ask)
        os.close(self._answers)
        self._profile.cleanup()
