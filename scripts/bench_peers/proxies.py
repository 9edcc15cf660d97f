"""The proxies that are compared, each started on a free loopback port and on a processor of its own.

Every one of them gets the same routes: ``/SESSION/rest`` to ``http://127.0.0.1:PORT/rest`` for two real sessions and for 98 that
nobody asks for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROXY_CPU, LOAD_CPU = "0", str(min(1, (os.cpu_count() or 1) - 1))
NPM = "configurable-http-proxy@5"

NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {dir}/pid; error_log {dir}/error crit;
events {{ worker_connections 18000; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 3600; client_max_body_size 0;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  map_hash_bucket_size 128;
  map $http_upgrade $up {{ default $http_upgrade; "" ""; }}
  map $http_upgrade $conn {{ default upgrade; "" ""; }}
  map $session $agent {{ {routes} }}
  {upstreams}
  server {{ listen 127.0.0.1:{port}; location ~ ^/(?<session>[0-9a-f-]+)(?<rest>/.*)$ {{
    proxy_pass http://$agent$rest$is_args$args; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
    proxy_read_timeout 3600; proxy_set_header Upgrade $up; proxy_set_header Connection $conn; proxy_set_header Authorization "";
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Prefix /$session; }} }} }}
"""


class Missing(Exception):  # noqa: N818 - a sentence for who runs it
    """A peer cannot be had here; the text says what to install."""


@dataclass
class Proxy:
    """One running proxy: ``small`` and ``streams`` are the sessions whose agent servers do that."""

    name: str
    port: int
    small: str
    streams: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    measured: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def cpu(self) -> float:
        """Return the processor seconds that the proxy has used."""
        if not self.measured:
            return 0.0
        user, system = Path(f"/proc/{self.measured}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return its resident bytes."""
        return psutil.Process(self.measured).memory_info().rss if self.measured else 0

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return psutil.Process(self.measured).num_fds()

    def stop(self) -> None:
        """End its processes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def start(words: list[str], cpu: str = PROXY_CPU, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process on one processor."""
    return subprocess.Popen(["taskset", "-c", cpu, *words], **options)


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise Missing(f"{process.args} does not listen at {port}") from None
            time.sleep(0.05)


def call(port: int, method: str, path: str, value: object = None, headers: Mapping[str, str] | None = None) -> Any:
    """Return the JSON answer of one request."""
    data = None if value is None else json.dumps(value).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, sent)
    request.method = method
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def daemon(directory: Path, key: str = "", others: int = 0) -> Proxy:
    """Start the shipped daemon with its default configuration, the agents and their server excepted.

    :param key: with one, authentication is on and every request needs it.
    :param others: how many further keys are known, as hashes in a file.
    """
    directory.mkdir()
    stub = directory / "agentapi"
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "agent_server.py"} "$@"\n', encoding="utf-8")
    stub.chmod(0o755)
    port, base = free_port(), free_port()
    wanted: dict[str, Any] = {
        "port": port,
        "data_dir": str(directory / "data"),
        "start_port": base,
        "agent_server": "agentapi",
        "agentapi_command": str(stub),
        "agents": {kind: {"command": ["/bin/true", kind], "type": "custom"} for kind in ("small", "streams")},
        "sessions": {"pass_environment": ["PATH", "BENCH_CPU"]},
    }
    headers = {"X-API-Key": key} if key else {}
    if key:
        rows = [{"key": key, "user_id": "bench", "role": "user"}]
        rows += [{"key": f"sha256:{number:064x}", "user_id": f"user{number}"} for number in range(others)]
        keys = directory / "keys.json"
        keys.write_text(json.dumps({"api_keys": rows}), encoding="utf-8")
        wanted["auth"] = {"enabled": True, "static": {"enabled": True, "keys_file": str(keys)}}
    (directory / "conf.json").write_text(json.dumps(wanted), encoding="utf-8")
    environment = {**os.environ, "BENCH_CPU": LOAD_CPU}
    words = [sys.executable, "-m", "agentproxy", "-c", str(directory / "conf.json")]
    with (directory / "out").open("wb") as out:
        process = start(words, env=environment, stdout=out, stderr=out, cwd=ROOT)
    try:
        wait_for(port, process)
        kinds = ("small", "streams")
        ids = [call(port, "POST", "/start", {"agent": kind}, headers)["session_id"] for kind in kinds]
    except Exception as error:
        process.terminate()
        raise Missing(f"our own daemon: {error}\n" + (directory / "out").read_text()[-2000:]) from error
    name = f"ours, authentication on{f', {others + 1} keys' if others else ''}" if key else "ours"
    return Proxy(name, port, ids[0], ids[1], [process], process.pid, headers)


def agent_ports(proxy: Proxy) -> tuple[int, int]:
    """Return the ports of the two agent servers."""
    rows = {row["session_id"]: row["port"] for row in call(proxy.port, "GET", "/search")["sessions"]}
    return int(rows[proxy.small]), int(rows[proxy.streams])


def routes(ours: Proxy, ports: tuple[int, int], count: int = 100) -> dict[str, int]:
    """Return session to port, with sessions that nobody asks for."""
    if count == 1:
        return {ours.small: ports[0]}
    made = {f"00000000-0000-4000-8000-{n:012x}": ports[0] for n in range(count - 2)}
    return made | {ours.small: ports[0], ours.streams: ports[1]}


def nginx(directory: Path, ours: Proxy, ports: tuple[int, int]) -> Proxy:
    """Start nginx with one worker."""
    if shutil.which("nginx") is None:
        raise Missing("nginx: apt-get install nginx-light")
    directory.mkdir()
    port = free_port()
    rows = " ".join(f'"{name}" "a{to}";' for name, to in routes(ours, ports).items())
    kept = "keepalive 256; keepalive_requests 100000000;"
    upstreams = "\n".join(f"upstream a{to} {{ server 127.0.0.1:{to}; {kept} }}" for to in ports)
    (directory / "conf").write_text(NGINX.format(dir=directory, port=port, routes=rows, upstreams=upstreams), "ascii")
    process = start(["nginx", "-p", str(directory), "-c", str(directory / "conf")])
    wait_for(port, process)
    worker = psutil.Process(process.pid).children()[0].pid
    return Proxy("nginx", port, ours.small, ours.streams, [process], worker)


def configurable_http_proxy(directory: Path, ours: Proxy, ports: tuple[int, int]) -> Proxy:
    """Start JupyterHub's proxy, from npm when it is not there."""
    program = shutil.which("configurable-http-proxy")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "agentproxy-bench")
    if program is None:
        found = cache / "node_modules" / ".bin" / "configurable-http-proxy"
        if not found.exists():
            cache.mkdir(parents=True, exist_ok=True)
            words = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(cache), NPM]
            if shutil.which("npm") is None or subprocess.run(words, check=False).returncode:
                raise Missing("configurable-http-proxy: install node and npm, then " + " ".join(words))
        program = str(found)
    directory.mkdir()
    port, api = free_port(), free_port()
    words = [program, "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api)]
    words += ["--no-include-prefix", "--log-level", "error"]
    environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": ""}
    process = start(words, env=environment, stderr=subprocess.DEVNULL)
    wait_for(api, process)
    wait_for(port, process)
    for name, to in routes(ours, ports).items():
        request = urllib.request.Request(
            f"http://127.0.0.1:{api}/api/routes/{name}", json.dumps({"target": f"http://127.0.0.1:{to}"}).encode()
        )
        urllib.request.urlopen(request, timeout=20).close()
    return Proxy("configurable-http-proxy", port, ours.small, ours.streams, [process], process.pid)


def python(program: str, name: str, table: Mapping[str, int], ours: Proxy) -> Proxy:
    """Start one of the Python programs beside this file; it reads its routes from its input."""
    port = free_port()
    process = start(
        [sys.executable, str(HERE / program), str(port)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(table).encode())
    process.stdin.close()
    wait_for(port, process)
    return Proxy(name, port, ours.small, ours.streams, [process], process.pid)


def direct(ports: tuple[int, int]) -> dict[str, Proxy]:
    """Return the agent servers themselves in the place of a proxy."""
    return {kind: Proxy("direct", port, "", "") for kind, port in zip(("small", "streams"), ports, strict=True)}
