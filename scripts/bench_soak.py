#!/usr/bin/env python3
"""Hold many event streams and a steady rate of requests on the shipped daemon, then look whether anything was left behind.

``scripts/bench soak [--streams N] [--rate N] [--seconds N] [--rounds N]``. Each round opens the streams, asks at the rate, closes
everything. It fails when a stream or a request was lost, or when descriptors or memory are not flat after the last round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from bench_gateway import load, prefix, run_load
from bench_peers import proxies
from bench_peers.proxies import Proxy

HERE = Path(__file__).parent
SLACK_DESCRIPTORS = 40
SLACK_BYTES = 8 << 20


def one_round(ours: Proxy, streams: int, rate: int, seconds: int) -> dict[str, float]:
    """Run one round and return its figures."""
    words = load("sse", ours.port, prefix(ours, "streams"), streams, seconds)
    reader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdout.readline()
    before = ours.cpu()
    reader.stdin.write(b"\n")
    reader.stdin.flush()
    asked = run_load("paced", ours.port, prefix(ours, "small"), rate, seconds)
    said = json.loads(reader.stdout.readline())
    busy = ours.descriptors()
    spent = ours.cpu() - before
    reader.communicate(b"\n", timeout=60)
    if said["lost"] or asked["asked"] != asked["answered"]:
        raise SystemExit(f"lost: {said['lost']} streams, {asked['asked'] - asked['answered']} requests")
    deadline = time.monotonic() + 20
    while ours.descriptors() > busy // 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(3)
    return {
        "events": said["events"],
        "p99_ms": asked["p99"],
        "cpu_share": spent / said["seconds"],
        "descriptors_busy": busy,
        "descriptors_after": ours.descriptors(),
        "mib_after": ours.memory() / (1 << 20),
    }


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--seconds", type=int, default=15, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="the first one warms up")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE.parent)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as made:
        ours = proxies.daemon(Path(made) / "ours")
        try:
            rounds = []
            for number in range(options.rounds):
                rounds.append(one_round(ours, options.streams, options.rate, options.seconds))
                facts = ", ".join(f"{name} {value:.4g}" for name, value in rounds[-1].items())
                print(f"round {number + 1}: {facts}", flush=True)
        finally:
            ours.stop()
    first, last = rounds[0], rounds[-1]
    if last["descriptors_after"] > first["descriptors_after"] + SLACK_DESCRIPTORS:
        raise SystemExit("descriptors grow from round to round")
    if len(rounds) > 1 and last["mib_after"] - first["mib_after"] > SLACK_BYTES / (1 << 20):
        raise SystemExit("memory grows from round to round")
    print("flat")


if __name__ == "__main__":
    main()
