"""Removes what has expired: entries, join tokens, old events, and agents where asked for.

Features L21, B2 and A20.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from spire_py.errors import SpireError
from spire_py.model.agent import Agent
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger

_INTERVAL = timedelta(minutes=5)
_JOIN_TOKENS_KEPT = timedelta(days=1)
"""Whoever comes with an expired token that is still there is told that it has expired."""
_AGENT_INTERVAL = timedelta(hours=1)
_AGENT_JITTER = timedelta(minutes=15)
_DICE = random.SystemRandom()

log = get_logger("registration_manager")
agent_log = get_logger("node_manager")


class PrunedStore(Protocol):
    """What the pruner needs of the datastore."""

    async def prune_entries(self, expired_before: datetime) -> object: ...
    async def prune_join_tokens(self, expired_before: datetime) -> int: ...
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
        await _attempt(
            "Failed pruning join tokens", self._store.prune_join_tokens, now - _JOIN_TOKENS_KEPT
        )
        await _attempt("Failed pruning events", self._store.prune_entry_events, oldest)
        await _attempt("Failed pruning events", self._store.prune_agent_events, oldest)


async def _attempt(
    sentence: str, prune: Callable[[datetime], Awaitable[object]], before: datetime
) -> None:
    try:
        await prune(before)
    except SpireError as error:
        log.error(sentence, error=error.message)


class AgentStore(Protocol):
    """What the agent pruner needs of the datastore."""

    async def prune_agents(
        self,
        expired_before: datetime,
        *,
        include_non_reattestable: bool = False,
        batch_size: int = 1000,
    ) -> Sequence[Agent]: ...


class AgentPruner:
    """Deletes agents that have been expired for long, about once an hour (feature A20).

    Several servers over one database do so at different times.

    Args:
        store: what is pruned.
        clock: the present.
        expired_for: how long an agent is kept after its SVID has expired.
        include_non_reattestable: those too that could not attest again.
        batch_size: of one round.
    """

    def __init__(
        self,
        *,
        store: AgentStore,
        clock: Clock,
        expired_for: timedelta,
        include_non_reattestable: bool,
        batch_size: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._expired_for = expired_for
        self._include_non_reattestable = include_non_reattestable
        self._batch_size = batch_size

    async def run(self) -> None:
        """Prune until cancelled."""
        agent_log.info(
            "Periodic prune of expired nodes started",
            expired_for=str(self._expired_for),
            include_tofu=self._include_non_reattestable,
        )
        while True:
            await self._clock.sleep(_AGENT_INTERVAL + _AGENT_JITTER * _DICE.uniform(-1, 1))
            await self.prune()

    async def prune(self) -> None:
        """One round; a failure is logged, and tried again in the next."""
        try:
            pruned = await self._store.prune_agents(
                self._clock.now() - self._expired_for,
                include_non_reattestable=self._include_non_reattestable,
                batch_size=self._batch_size,
            )
        except SpireError as error:
            agent_log.error("Failed during periodic pruning of expired nodes", error=error.message)
            return
        for agent in pruned:
            agent_log.info("Pruned an expired agent", spiffe_id=str(agent.id))
