"""How often: a bucket of tokens for each name, forgotten when it is full again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then one every so many seconds.

    :param burst: how many may come at once, at least 1.
    :param every: seconds until one more is allowed.
    """

    burst: int
    every: float

    @classmethod
    def per_minute(cls, count: int) -> Rate:
        """Return the rate of *count* a minute, all of them at once if wanted."""
        return cls(count, 60.0 / count)


class Rates:
    """The buckets of many names.

    :param rate: None is no limit.
    :param now: monotonic seconds.
    :param most: names that are kept; beyond, those that are full again are dropped, then the oldest.
    """

    def __init__(self, rate: Rate | None, now: Callable[[], float], most: int = 10_000) -> None:
        self._rate = rate
        self._now = now
        self._most = most
        self._empty_until: dict[str, float] = {}

    def wait(self, name: str) -> float:
        """Return the seconds until *name* may take one, 0 when it may now; takes nothing."""
        if self._rate is None:
            return 0.0
        now = self._now()
        spent = max(self._empty_until.get(name, now), now) - now
        over = spent + self._rate.every - self._rate.burst * self._rate.every
        return over if over > 1e-9 else 0.0

    def take(self, name: str) -> float:
        """Take one for *name*; return 0, or the seconds to wait when nothing was taken."""
        wait = self.wait(name)
        if self._rate is not None and not wait:
            now = self._now()
            self._empty_until[name] = max(self._empty_until.pop(name, now), now) + self._rate.every
            if len(self._empty_until) > self._most:
                self._forget(now)
        return wait

    def _forget(self, now: float) -> None:
        self._empty_until = {name: until for name, until in self._empty_until.items() if until > now}
        while len(self._empty_until) > self._most:
            self._empty_until.pop(next(iter(self._empty_until)))

    def __len__(self) -> int:
        """Return how many names have taken something lately."""
        return len(self._empty_until)
