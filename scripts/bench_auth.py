#!/usr/bin/env python3
"""Measure what authentication costs the gateway: the shipped daemon without it, with one key, and with many.

``scripts/bench auth [--seconds N] [--rounds N] [--keys N] [--json FILE]``. The three are measured in turn, so that what else the
machine does hits all of them; the ratio to the first counts. Needs wrk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import bench_gateway
from bench_peers import proxies
from bench_peers.proxies import Missing, Proxy

KEY = "bench-key-0123456789abcdef0123456789abcdef"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement; the median counts")
    parser.add_argument("--keys", type=int, default=10_000, help="that are known in the third")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    table: list[Proxy] = []
    with tempfile.TemporaryDirectory(prefix="bench-auth-") as name:
        place = Path(name)
        try:
            table.append(proxies.daemon(place / "off"))
            table.append(proxies.daemon(place / "on", KEY))
            table.append(proxies.daemon(place / "many", KEY, wanted.keys - 1))
            rows = bench_gateway.requests(table, wanted.seconds, wanted.rounds)
        except Missing as missing:
            raise SystemExit(str(missing)) from missing
        finally:
            for proxy in table:
                proxy.stop()
    for row, cells in rows.items():
        first = cells[table[0].name]
        print(row)
        for label, value in cells.items():
            print(f"  {label:<42} {value:10.1f}  {value / first:5.2f}")
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
