"""The life of a delivery as rules: what may follow what, whose turn it is, what a crash leaves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.model.delivery import (
    NEXT,
    At,
    Delivery,
    DeliveryState,
    Found,
    after_crash,
    answer_in,
    find,
    in_order,
    moved,
)
from agentproxy.model.message import Message

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def a_delivery(number: int = 1, sender: str = "alice", **facts: object) -> Delivery:
    """Return a delivery."""
    given: dict[str, object] = {"position": number, "text": f"text {number}", **facts}
    return Delivery(id=f"d{number}", session_id="s", sender=sender, created_at=NOON, updated_at=NOON, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("before", list(DeliveryState))
@pytest.mark.parametrize("after", list(DeliveryState))
def test_only_what_may_follow_follows(before: DeliveryState, after: DeliveryState) -> None:
    """What was answered or withdrawn stays so, and nothing becomes delivered that was not typed."""
    one = a_delivery(state=before)
    if after in NEXT[before]:
        assert moved(one, after, NOON).state is after
    else:
        with pytest.raises(Refusal, match="cannot become"):
            moved(one, after, NOON)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12),
    st.lists(st.sampled_from("abc"), max_size=5),
)
def test_everybody_is_served_in_turn(queue: list[tuple[str, bool]], recent: list[str]) -> None:
    """All are served, each sender's in order, and nobody twice while another waits."""
    found = in_order([a_delivery(n, sender) for n, (sender, _urgent) in enumerate(queue)], recent)
    assert len(found) == len(queue)
    for sender in "abc":
        places = [one.position for one in found if one.sender == sender]
        assert places == sorted(places)
    for first, second in itertools.pairwise(found):
        if first.sender == second.sender:
            rest = found[found.index(second) :]
            assert all(one.sender == first.sender for one in rest)


def test_urgent_ones_go_first_and_the_first_message_before_the_rest() -> None:
    """Whoever was served last."""
    plain, first, urgent = a_delivery(1), a_delivery(2, first=True), a_delivery(3, "bob", at=At.INTERRUPT)
    assert in_order([plain, first, urgent], ["bob"]) == [urgent, first, plain]


def said(number: int, role: str, text: str) -> Message:
    """Return a message."""
    return Message(number, role, text, NOON)


def test_a_message_is_found_by_its_text_after_its_base() -> None:
    """Padding does not matter; an older one, the agent's, and another delivery's are not it."""
    one = a_delivery(text="do it\nnow", base=2)
    shown = [said(1, "user", "do it\nnow"), said(3, "agent", "do it\nnow"), said(4, "user", "do it   \nnow ")]
    found = find(one, shown)
    assert found is not None
    assert found.id == 4
    assert find(one, shown, frozenset({4})) is None


def test_an_answer_ends_where_the_user_speaks_again() -> None:
    """What was said later is another turn's."""
    shown = [
        said(0, "agent", "hi"),
        said(1, "user", "a"),
        said(2, "agent", "A"),
        said(3, "user", "b"),
        said(4, "agent", "B"),
    ]
    assert (answer_in(shown, 1), answer_in(shown, 3), answer_in(shown, 4)) == ("A", "B", "")


@pytest.mark.parametrize(
    ("incarnation", "there", "empty", "found"),
    [
        (1, True, False, Found.THERE),
        (1, False, True, Found.NOT_TYPED),
        (1, False, False, Found.UNDECIDED),
        (2, True, True, Found.UNDECIDED),
    ],
)
def test_what_a_crash_leaves_is_decided_only_by_proof(incarnation: int, there: bool, empty: bool, found: Found) -> None:
    """The transcript of the same agent server, or an input line that shows empty."""
    one = a_delivery(incarnation=1, text="x")
    transcript = [said(5, "user", "x")] if there else []
    assert after_crash(one, incarnation, transcript, empty_input=empty) is found
