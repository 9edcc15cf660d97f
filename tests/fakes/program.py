"""Entry point of every fake: ``python -S -E program.py NAME [ARGS...]`` (see README.md beside this file).

Starts in some 20 ms because it imports only the file that the name needs.
"""

import importlib
import sys

from names import NAMES


def main() -> None:
    """Run the fake whose name is the first argument."""
    name, *args = sys.argv[1:]
    module = importlib.import_module(NAMES[name])
    sys.exit(getattr(module, name)(*args))


if __name__ == "__main__":
    main()
