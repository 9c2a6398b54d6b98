"""What to log of something that is tried again and again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from spire_py.errors import SpireError
from spire_py.telemetry.logs import Logger, LogLevel

_LOUD_FAILURES = 3


class RepeatedFailures:
    """Complains of the first three failures in a row at `level`, of the others at level debug.

    Failures are counted by their sentence.
    """

    def __init__(self, log: Logger, level: LogLevel = LogLevel.WARNING) -> None:
        self._log = log
        self._level = level
        self._count: Counter[str] = Counter()

    def failed(self, sentence: str, error: SpireError) -> None:
        self._count[sentence] += 1
        loud = self._count[sentence] <= _LOUD_FAILURES
        self._log.log(self._level if loud else LogLevel.DEBUG, sentence, error=error.message)

    def succeeded(self, sentence: str, event: str, **facts: Any) -> None:
        """Log `event` where that which `sentence` complains of had failed before."""
        if failures := self._count.pop(sentence, 0):
            self._log.info(event, failures=failures, **facts)
