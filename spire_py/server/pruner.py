"""Removes what has expired: entries, and events nobody will read any more (features L21, B2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from spire_py.errors import SpireError
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger

_INTERVAL = timedelta(minutes=5)

log = get_logger("registration_manager")


class PrunedStore(Protocol):
    """What the pruner needs of the datastore."""

    async def prune_entries(self, expired_before: datetime) -> object: ...
    async def prune_entry_events(self, older_than: datetime) -> int: ...
    async def prune_agent_events(self, older_than: datetime) -> int: ...


class Pruner:
    """Prunes every five minutes.

    Args:
        store: what is pruned.
        clock: the present.
        events_older_than: events are kept so long, for servers that were cut off meanwhile.
    """

    def __init__(self, *, store: PrunedStore, clock: Clock, events_older_than: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._events_older_than = events_older_than

    async def run(self) -> None:
        """Prune until cancelled."""
        while True:
            await self._clock.sleep(_INTERVAL)
            await self.prune()

    async def prune(self) -> None:
        """One round; what fails is logged, and tried again in the next."""
        now = self._clock.now()
        oldest = now - self._events_older_than
        await _attempt("Failed pruning registration entries", self._store.prune_entries, now)
        await _attempt("Failed pruning events", self._store.prune_entry_events, oldest)
        await _attempt("Failed pruning events", self._store.prune_agent_events, oldest)


async def _attempt(
    sentence: str, prune: Callable[[datetime], Awaitable[object]], before: datetime
) -> None:
    try:
        await prune(before)
    except SpireError as error:
        log.error(sentence, error=error.message)
