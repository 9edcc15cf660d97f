"""``python -m agentproxy [options]`` is ``agentproxy server [options]``."""

from __future__ import annotations

import sys

from agentproxy.cli import main

if __name__ == "__main__":
    sys.exit(main(["server", *sys.argv[1:]]))
