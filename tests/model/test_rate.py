"""How often: bursts, refilling, and a bounded memory."""

from __future__ import annotations

from agentproxy.model.rate import Rate, Rates


def test_a_burst_is_allowed_then_one_at_a_time() -> None:
    """Three at once, then each one twenty seconds later; who waits pays nothing for asking."""
    now = [0.0]
    rates = Rates(Rate.per_minute(3), lambda: now[0])
    assert [rates.take("ann") for _ in range(4)] == [0, 0, 0, 20.0]
    now[0] = 19.0
    assert rates.take("ann") == 1.0
    now[0] = 20.0
    assert (rates.take("ann"), rates.take("ann")) == (0, 20.0)
    assert rates.take("bob") == 0


def test_no_rate_is_no_limit() -> None:
    """Without a rate everything passes and nothing is kept."""
    rates = Rates(None, lambda: 0.0)
    assert [rates.take("ann") for _ in range(1000)] == [0] * 1000
    assert len(rates) == 0


def test_an_attacker_with_many_names_fills_no_memory() -> None:
    """However many names fail, only so many are kept, the latest ones among them."""
    now = [0.0]
    rates = Rates(Rate(1, 60.0), lambda: now[0], most=100)
    for number in range(1000):
        now[0] += 0.001
        rates.take(str(number))
    assert len(rates) == 100
    assert rates.take("999") > 0
