"""What the log says of a request's target."""

from __future__ import annotations

import pytest

from agentproxy.web.access_log import shown_target

TOKEN = b"0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("before", [b"/s/", b"//s/", b"/%73/", b"/S/", b"/agents/s/", b"/s%2f"])
def test_no_token_of_a_link_is_told(before: bytes) -> None:
    """However the link was written, and also where a proxy has put something in front of it."""
    assert TOKEN.decode() not in shown_target(before + TOKEN + b"/status?x=1")


def test_what_opens_nothing_is_told() -> None:
    """The path is; a query may have a secret."""
    assert shown_target(b"/sessions/one/log?session_id=secret") == "/sessions/one/log?..."
