"""``python -m agentproxy [options]`` is ``agentproxy server [options]``; with a command first it is ``agentproxy COMMAND``."""

from __future__ import annotations

import sys

from agentproxy.cli import main

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words if words and not words[0].startswith("-") else ["server", *words]))
