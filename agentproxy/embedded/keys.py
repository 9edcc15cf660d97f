"""What comes from an attached terminal: the keys of a person, or what a terminal sends by itself. Pure."""

from __future__ import annotations

import re

_BY_ITSELF = re.compile(
    rb"""(?:
        \x1b\[ [?>=]? [\d;:]* \$?[Rcnyt]          # where the cursor is, what the terminal can do, its modes, its size
      | \x1b\[ [IO]                               # it has the focus, or has lost it
      | \x1b\] [^\x07\x1b]* (?: \x07 | \x1b\\ )   # its colours
      | \x1b [P_] [^\x1b]* \x1b\\                 # its name, its settings
    )+""",
    re.VERBOSE,
)


def is_typed(data: bytes) -> bool:
    """Return whether a person typed *data*: an open page answers what programs ask its terminal, and that is no key."""
    return bool(data) and _BY_ITSELF.fullmatch(data) is None
