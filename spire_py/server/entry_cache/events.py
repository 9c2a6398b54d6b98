"""Following an events table so that nothing is missed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

_MAX_GAPS = 10_000
_YOUNG_SECONDS = 30.0


class EventFollower:
    """Which events of a table were seen, and which may still come.

    A database hands out an event's id before its transaction commits. A higher id can so become
    visible before a lower one, and an id can stay away for ever when its transaction fails. Ids
    that were passed over are watched for until `patience` is over.

    Args:
        seen: ids of the newest events there are at the start, in any order.
        now: seconds of a monotonic clock.
        patience: how long the transaction of an id may take to commit.
    """

    def __init__(self, seen: Collection[int], *, now: float, patience: timedelta) -> None:
        self._patience = patience.total_seconds()
        self._last = max(seen, default=0)
        self._gaps: dict[int, float] = {}
        self._looked_at_all = now
        self.overflowed = False
        """So many ids were passed over that only loading all anew is safe; the loader unsets it."""
        self._watch_range(min(seen, default=0), set(seen), now)

    @property
    def last(self) -> int:
        """The highest id seen."""
        return self._last

    def read_after(self, now: float) -> int:
        """The id after which to read, so that what was passed over is read too.

        An id that has been away for long stays away in most cases: it is looked for less often,
        because all events after it are read again.
        """
        look_at_all = now - self._looked_at_all >= _YOUNG_SECONDS
        if look_at_all:
            self._looked_at_all = now
        gaps = [
            gap for gap, since in self._gaps.items() if look_at_all or now - since < _YOUNG_SECONDS
        ]
        return min(gaps, default=self._last + 1) - 1

    def take(self, events: Iterable[tuple[int, str]], *, now: float) -> set[str]:
        """What the events name, leaving out those that were taken before.

        Args:
            events: id and name of each event read, in any order, known ones among them.
            now: seconds of the same clock.
        """
        named: set[str] = set()
        ids: set[int] = set()
        for event_id, name in events:
            if event_id > self._last:
                ids.add(event_id)
            elif self._gaps.pop(event_id, None) is None:
                continue
            named.add(name)
        if ids:
            first, self._last = self._last, max(ids)
            self._watch_range(first, ids, now)
        self._give_up(now)
        return named

    def _watch_range(self, first: int, present: set[int], now: float) -> None:
        missing = self._last - first - len(present - {first})
        if missing <= 0:
            return
        if missing + len(self._gaps) > _MAX_GAPS:
            self._gaps.clear()
            self.overflowed = True
            return
        for event_id in range(first + 1, self._last):
            if event_id not in present:
                self._gaps[event_id] = now

    def _give_up(self, now: float) -> None:
        too_old = [gap for gap, since in self._gaps.items() if now - since > self._patience]
        for gap in too_old:
            del self._gaps[gap]
