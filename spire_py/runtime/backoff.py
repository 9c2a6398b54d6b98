"""How long to wait before the next try."""

from __future__ import annotations

import random
from datetime import timedelta

_JITTER = random.SystemRandom()


class Backoff:
    """Waits that grow by `multiplier` up to `maximum`, each spread by `jitter` to both sides.

    Feature O1: the agent's sync uses factor 1.5 and 10 % jitter.
    """

    def __init__(
        self,
        *,
        initial: timedelta,
        maximum: timedelta,
        multiplier: float = 1.5,
        jitter: float = 0.1,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._multiplier = multiplier
        self._jitter = jitter
        self._next = initial

    def next(self) -> timedelta:
        """The wait before the next try; the one after will be longer."""
        wait = self._next
        self._next = min(self._maximum, wait * self._multiplier)
        return wait * _JITTER.uniform(1 - self._jitter, 1 + self._jitter)

    def reset(self) -> None:
        """Begin again at the initial wait, as after a success."""
        self._next = self._initial
