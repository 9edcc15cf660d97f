#!/usr/bin/env python3
"""Measure the gateway beside nginx, configurable-http-proxy, twisted's ReverseProxyResource and a direct connection.

``scripts/bench gateway [--rows requests,latency,tunnels,bulk,long,streams,routes] [--seconds N] [--rounds N] [--json FILE]``.
Ours is the shipped daemon with its default configuration; its two sessions run an agent server that costs little. The proxy
has one processor, load and agent servers have the other. CPU is utime+stime of the proxy's process. A peer that
is missing ends the run. Needs: nginx, wrk, node, npm.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_peers import proxies
from bench_peers.proxies import LOAD_CPU, Missing, Proxy

HERE = Path(__file__).parent / "bench_peers"
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) bench",
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip, deflate, br",
    "Authorization": "Bearer " + "k" * 110,
    "Content-Type": "application/json",
}
STOCK = "stock ReverseProxyResource"
"""It leaves requests unanswered under load; that is known and does not end a run."""

Cells = dict[str, float]


def load(*words: object) -> list[str]:
    """Return the command line of a load on its processor."""
    return ["taskset", "-c", LOAD_CPU, sys.executable, str(HERE / "load.py"), *map(str, words)]


def run_load(*words: object) -> dict[str, Any]:
    """Run a load to its end and return what it says."""
    return dict(json.loads(subprocess.run(load(*words), check=True, capture_output=True, timeout=300).stdout))


def prefix(proxy: Proxy, kind: str) -> str:
    """Return what is in front of the agent server's paths."""
    session = getattr(proxy, kind)
    return f"/{session}" if session else ""


def wrk(proxy: Proxy, seconds: float, connections: int = 32, varying: bool = False, path: str = "/status") -> Cells:
    """Ask as fast as it goes; ``varying`` gives every request a head of its own."""
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in {**HEADERS, **proxy.headers}.items()]
    if varying:
        lines.append(
            'local n = 0\nrequest = function() n = n + 1\n  wrk.headers["traceparent"] = "00-" .. n .. "-00f067aa0ba902b7-01"\n'
            "  return wrk.format(nil, wrk.path) end"
        )
    else:
        lines.append('wrk.headers["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"')
    url = f"http://127.0.0.1:{proxy.port}{prefix(proxy, 'small')}{path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        words = [
            "taskset",
            "-c",
            LOAD_CPU,
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{round(seconds)}s",
            "-s",
            script.name,
            url,
        ]
        before = proxy.cpu()
        said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout
        spent = proxy.cpu() - before
    match = re.search(r"(\d+) requests in", said)
    count = int(match[1]) if match else 0
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors", said)
    if (bad and proxy.name != STOCK) or not count:
        raise SystemExit(f"{proxy.name}: not every request was answered:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    return {"cpu_us": spent / count * 1e6, "per_second": float(rate[1]) if rate else 0.0}


def requests(table: list[Proxy], seconds: float, rounds: int) -> dict[str, Cells]:
    """CPU per request and requests per second with 32 connections."""
    rows: dict[str, Cells] = {}
    for row, varying in (("same heads", False), ("every head different", True)):
        for proxy in table:
            wrk(proxy, 1, varying=varying)
        seen: dict[str, list[Cells]] = {proxy.name: [] for proxy in table}
        for turn in range(rounds):
            for proxy in table if turn % 2 == 0 else reversed(table):
                seen[proxy.name].append(wrk(proxy, seconds, varying=varying))
        for key, label in (("cpu_us", "CPU us/request"), ("per_second", "requests/s")):
            rows[f"{label}, 32 connections, {row}"] = {
                name: statistics.median(cell[key] for cell in cells) for name, cells in seen.items()
            }
    return rows


def latency(table: list[Proxy], seconds: float, rounds: int) -> dict[str, Cells]:
    """Latency at 1000 requests a second."""
    rows: dict[str, Cells] = {
        "latency at 1000/s, p50 ms": {},
        "latency at 1000/s, p99 ms": {},
        "CPU us/request at 1000/s": {},
    }
    for proxy in table:
        said = []
        before = proxy.cpu()
        for _ in range(rounds):
            said.append(run_load("paced", proxy.port, prefix(proxy, "small"), 1000, seconds))
        asked = sum(one["asked"] for one in said)
        if asked != sum(one["answered"] for one in said) and proxy.name != STOCK:
            raise SystemExit(f"{proxy.name}: not every paced request was answered")
        rows["latency at 1000/s, p50 ms"][proxy.name] = statistics.median(one["p50"] for one in said)
        rows["latency at 1000/s, p99 ms"][proxy.name] = statistics.median(one["p99"] for one in said)
        rows["CPU us/request at 1000/s"][proxy.name] = (proxy.cpu() - before) / asked * 1e6
    return rows


def streams(table: list[Proxy], seconds: float, counts: tuple[int, ...] = (1000, 5000)) -> dict[str, Cells]:
    """CPU per event and memory per stream of many event streams; one event a second on each."""
    rows: dict[str, Cells] = {}
    rest = {proxy.name: proxy.memory() for proxy in table}
    for count in counts:
        for proxy in table:
            at_rest = rest[proxy.name]
            process = subprocess.Popen(
                load("sse", proxy.port, prefix(proxy, "streams"), count, seconds),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stdin is not None
            json.loads(process.stdout.readline())
            time.sleep(1)
            open_now, before = proxy.memory(), proxy.cpu()
            process.stdin.write(b"\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline())
            spent = proxy.cpu() - before
            felt = health(proxy) if proxy.name.startswith("ours") else None
            process.communicate(b"\n", timeout=60)
            if said["lost"] or said["events"] < 0.3 * count * seconds:
                raise SystemExit(f"{proxy.name}: {said['lost']} streams of {count} ended, {said['events']} events came")
            rows.setdefault(f"SSE CPU us/event, {count} streams", {})[proxy.name] = spent / said["events"] * 1e6
            rows.setdefault(f"SSE KiB/stream, {count} streams", {})[proxy.name] = (open_now - at_rest) / count / 1024
            if felt is not None:
                rows.setdefault(f"GET /health p99 ms beside {count} streams", {})[proxy.name] = felt
            time.sleep(2)
    return rows


def health(proxy: Proxy) -> float:
    """Return the 99th percentile in ms of /health, asked for one at a time: what another client feels; twisted.web included."""
    lags = []
    for _ in range(200):
        begun = time.perf_counter()
        urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/health", timeout=10).close()
        lags.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.01)
    return sorted(lags)[int(len(lags) * 0.99)]


def looks(proxy: Proxy) -> dict[float, float]:
    """Return how often the reactor was late by at most so many seconds, as the daemon counts it."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/metrics", timeout=10).read().decode()
    found = re.findall(r'agentproxy_reactor_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(bound): float(count) for bound, count in found}


def lag(before: dict[float, float], after: dict[float, float]) -> Cells:
    """Return the bound in ms that 99 % of the looks between two readings kept, and the share within 10 ms."""
    seen = {bound: after[bound] - before[bound] for bound in after}
    total = seen[float("inf")] or 1.0
    kept = min(bound for bound, count in seen.items() if count >= 0.99 * total)
    return {"p99 at most, ms": kept * 1e3, "within 10 ms, %": seen[0.01] / total * 100, "looks": total}


def tunnels(table: list[Proxy], seconds: float) -> dict[str, Cells]:
    """CPU per WebSocket round trip."""
    row: Cells = {}
    for proxy in table:
        before = proxy.cpu()
        said = run_load("ws", proxy.port, prefix(proxy, "streams"), 32, seconds)
        row[proxy.name] = (proxy.cpu() - before) / said["turns"] * 1e6
    return {"WebSocket CPU us/round trip, 32 tunnels": row}


def bulk(table: list[Proxy], rounds: int, size: int = 256 << 20) -> dict[str, Cells]:
    """CPU per GiB, down and up, with and without chunks."""
    rows: dict[str, Cells] = {}
    for way in ("down", "up"):
        for kind in ("length", "chunked"):
            for proxy in table:
                spent = []
                for _ in range(rounds):
                    before = proxy.cpu()
                    said = run_load(way, proxy.port, prefix(proxy, "streams"), kind, size)
                    if said["bytes"] < size:
                        raise SystemExit(f"{proxy.name}: {said['bytes']} bytes of {size} came")
                    spent.append((proxy.cpu() - before) / size * (1 << 30))
                rows.setdefault(f"bulk {way}, {kind}, CPU s/GiB", {})[proxy.name] = statistics.median(spent)
    return rows


def long(table: list[Proxy], size: int = 2 << 30) -> dict[str, Cells]:
    """The most that the resident memory grew by while 2 GiB passed."""
    rows: dict[str, Cells] = {}
    for way, kind in (("down", "length"), ("down", "chunked"), ("up", "length"), ("up", "chunked")):
        for proxy in table:
            run_load(way, proxy.port, prefix(proxy, "streams"), kind, 64 << 20)
            rest = most = proxy.memory()
            words = load(way, proxy.port, prefix(proxy, "streams"), kind, size)
            with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
                while process.poll() is None:
                    most = max(most, proxy.memory())
                    time.sleep(0.01)
                said = json.loads(process.stdout.read()) if process.stdout is not None else {}
            if said["bytes"] < size:
                raise SystemExit(f"{proxy.name}: {said['bytes']} bytes of {size} came")
            row = rows.setdefault(f"2 GiB {way}, {kind}: growth of resident KiB", {})
            row[proxy.name] = (most - rest) / 1024
    return rows


def table_sizes(ours: Proxy, ports: tuple[int, int], seconds: float, rounds: int) -> dict[str, Cells]:
    """CPU per request of the gateway alone against 1, 100 and 10 000 routes."""
    sizes = (1, 100, 10000)
    made = [proxies.python("table.py", f"{n} routes", proxies.routes(ours, ports, n), ours) for n in sizes]
    seen: dict[str, list[float]] = {proxy.name: [] for proxy in made}
    try:
        for proxy in made:
            wrk(proxy, 1)
        for turn in range(max(3, rounds)):
            for proxy in made if turn % 2 == 0 else reversed(made):
                seen[proxy.name].append(wrk(proxy, seconds)["cpu_us"])
    finally:
        for proxy in made:
            proxy.stop()
    return {
        "CPU us/request by routes (gateway alone)": {name: statistics.median(cells) for name, cells in seen.items()}
    }


def show(rows: dict[str, Cells], names: list[str]) -> None:
    """Print the rows as one table, the ratio to nginx behind each number."""
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for label, cells in rows.items():
        base = cells.get("nginx")
        texts = []
        for name in names:
            value = cells.get(name)
            ratio = f" ({value / base:.2f})" if value is not None and base and name != "nginx" else ""
            texts.append("" if value is None else f"{value:.{3 if abs(value) < 10 else 1}f}{ratio}")
        if not any(texts):
            texts = [f"{name}: {value:.1f}" for name, value in cells.items()] + [""] * (len(names) - len(cells))
        print(f"| {label} | " + " | ".join(texts) + " |", flush=True)


def measure(directory: Path, wanted: set[str], seconds: float, rounds: int, only_ours: bool) -> dict[str, Cells]:
    """Start everything, measure what is wanted, stop everything."""
    started: list[Proxy] = []
    rows: dict[str, Cells] = {}

    def begin(make: Callable[[], Proxy]) -> Proxy:
        started.append(make())
        return started[-1]

    try:
        ours = begin(lambda: proxies.daemon(directory / "ours"))
        ports = proxies.agent_ports(ours)
        nginx = begin(lambda: proxies.nginx(directory / "nginx", ours, ports))
        locked = begin(lambda: proxies.daemon(directory / "locked", "k" * 40))
        chp = stock = keys = None
        if not only_ours:
            keys = begin(lambda: proxies.daemon(directory / "keys", "k" * 40, 9999))
            chp = begin(lambda: proxies.configurable_http_proxy(directory / "chp", ours, ports))
            table = proxies.routes(ours, ports)
            stock = begin(lambda: proxies.python("stock.py", STOCK, table, ours))
        straight = proxies.direct(ports)
        small = [straight["small"], nginx, ours, *filter(None, (chp, stock))]
        asked = [*small[:3], locked, *filter(None, (keys,)), *small[3:]]
        able = [nginx, ours, *filter(None, (chp,))]
        steps: dict[str, Callable[[], dict[str, Cells]]] = {
            "requests": lambda: requests(asked, seconds, rounds),
            "latency": lambda: latency(small, seconds, rounds),
            "tunnels": lambda: tunnels(able, seconds),
            "bulk": lambda: bulk(able, rounds),
            "long": lambda: long([nginx, ours]),
            "streams": lambda: streams(able, max(seconds, 5)),
            "routes": lambda: table_sizes(ours, ports, seconds, rounds),
        }
        names = [proxy.name for proxy in asked]
        for name, step in steps.items():
            if name in wanted:
                before = looks(ours)
                done = step()
                done[f"reactor lag of ours during {name}"] = lag(before, looks(ours))
                show(done, names)
                rows |= done
        return rows
    finally:
        for proxy in reversed(started):
            proxy.stop()


def main() -> None:
    """Run what the arguments say."""
    every = "requests,latency,tunnels,bulk,long,streams,routes"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=every, help="comma list out of " + every)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--beside-nginx", action="store_true", help="while working: nginx is the only peer")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE.parent.parent)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if shutil.which("wrk") is None:
        raise SystemExit("bench gateway: wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as made:
        try:
            rows = measure(
                Path(made), set(options.rows.split(",")), options.seconds, options.rounds, options.beside_nginx
            )
        except Missing as missing:
            raise SystemExit(f"bench gateway: a peer is missing: {missing}") from None
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
