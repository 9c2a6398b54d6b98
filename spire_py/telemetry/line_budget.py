"""How many lines others may have us write."""

from __future__ import annotations

from typing import Any

from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import Logger

_LINES = 1_000
_LINES_PER_SECOND = 100.0


class LineBudget:
    """Writes errors that anyone may cause; not more than a disk and its readers can bear.

    A thousand at once pass, and a hundred a second. How many were left out is told before the next
    that passes.
    """

    def __init__(self, log: Logger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._left = float(_LINES)
        self._since = clock.monotonic()
        self._left_out = 0

    def error(self, event: str, **facts: Any) -> None:
        """Write a line, or count it."""
        now = self._clock.monotonic()
        self._left = min(_LINES, self._left + (now - self._since) * _LINES_PER_SECOND)
        self._since = now
        if self._left < 1:
            self._left_out += 1
            return
        self._left -= 1
        if self._left_out:
            self._log.warning("lines_left_out", of=event, count=self._left_out)
            self._left_out = 0
        self._log.error(event, **facts)
