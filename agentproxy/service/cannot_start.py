"""Why the daemon cannot start, as a sentence for the operator."""

from __future__ import annotations


class CannotStart(Exception):  # noqa: N818 - a sentence for the operator, not a defect
    """The daemon cannot start; the text says why and what helps."""
