"""Keeps entries and agents in memory, never more than a poll behind the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from spire_py.errors import SpireError
from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.runtime.clock import Clock
from spire_py.server.changes import Changes
from spire_py.server.entry_cache.authorized import AuthorizedEntries
from spire_py.server.entry_cache.followed_table import FollowedTable
from spire_py.server.entry_cache.index import EntryIndex
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.telemetry.repeated import RepeatedFailures

_POLL_INTERVAL = timedelta(seconds=1)
_COMPLAINT = "Failed to refresh the entry cache"

log = get_logger("endpoints")


class CacheStore(Protocol):
    """What the cache needs of the datastore."""

    async def load_all_entries(self) -> Iterable[Entry]: ...
    async def load_all_agents(self) -> Iterable[Agent]: ...
    async def get_entries(self, ids: Collection[str]) -> Iterable[Entry]: ...
    async def get_agents(self, ids: Collection[str]) -> Iterable[Agent]: ...
    async def get_agent(self, agent_id: SpiffeID) -> Agent | None: ...
    async def entry_events(self, after_id: int) -> Sequence[tuple[int, str]]: ...
    async def agent_events(self, after_id: int) -> Sequence[tuple[int, str]]: ...
    async def latest_entry_event_id(self) -> int: ...
    async def latest_agent_event_id(self) -> int: ...


class EntryCache:
    """All entries and agents of the datastore, in memory (docs/decisions/0007).

    Answers never wait for a query. What this server writes is put in by who wrote it; what other
    servers write is seen within a second. While the database is away the last known state stays.
    `changes` is told whenever something in memory has become another.
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        store: CacheStore,
        clock: Clock,
        full_reload_interval: timedelta = timedelta(hours=24),
        event_timeout: timedelta = timedelta(minutes=15),
        changes: Changes | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._full_reload_interval = full_reload_interval
        self._next_full_reload = 0.0
        self._index = EntryIndex(trust_domain, changes)
        self._settling: dict[str, int] = {}
        self._entries: FollowedTable[Entry] = FollowedTable(
            latest=store.latest_entry_event_id,
            events=store.entry_events,
            load_all=store.load_all_entries,
            get=store.get_entries,
            name=lambda entry: entry.id,
            put=self._index.put_entry,
            remove=self._index.remove_entry,
            present=lambda: self._index.entry_ids,
            patience=event_timeout,
            clock=clock,
        )
        self._agents: FollowedTable[Agent] = FollowedTable(
            latest=store.latest_agent_event_id,
            events=store.agent_events,
            load_all=store.load_all_agents,
            get=store.get_agents,
            name=lambda agent: str(agent.id),
            put=self._index.put_agent,
            remove=self._index.remove_agent,
            present=lambda: self._index.agent_ids,
            patience=event_timeout,
            clock=clock,
        )

    # --- questions ---

    def agent(self, agent_id: SpiffeID) -> Agent | None:
        return self._index.agent(agent_id)

    def entry(self, entry_id: str) -> Entry | None:
        return self._index.entry(entry_id)

    def authorized(self, agent_id: SpiffeID) -> AuthorizedEntries:
        """The entries that this agent may have."""
        return self._index.authorized(agent_id, self._clock.now())

    def privileged(self, spiffe_id: SpiffeID) -> list[Entry]:
        """The entries with this ID that give admin or downstream rights."""
        return self._index.privileged(spiffe_id, self._clock.now())

    # --- what this server wrote itself ---

    def put_entry(self, entry: Entry) -> None:
        self._entries.written(entry.id)
        self._index.put_entry(entry)

    def remove_entry(self, entry_id: str) -> None:
        self._entries.written(entry_id)
        self._index.remove_entry(entry_id)

    def put_agent(self, agent: Agent) -> None:
        self._agents.written(str(agent.id))
        self._index.put_agent(agent)

    def put_attested_agent(self, agent: Agent) -> None:
        """As `put_agent`, for one that has just attested: see `settle`."""
        self.put_agent(agent)
        self._settling[str(agent.id)] = self._entries.polls_begun

    def remove_agent(self, agent_id: SpiffeID) -> None:
        self._agents.written(str(agent_id))
        self._index.remove_agent(str(agent_id))

    # --- the database ---

    async def load(self) -> None:
        """Take in everything. To be called once, before anything is asked."""
        await self._entries.load()
        await self._agents.load()
        # A transaction that was open at the start may hold any id; a second look finds its work.
        self._next_full_reload = self._clock.monotonic() + 60

    async def refresh(self) -> None:
        """At the end, all that was committed before the call is in memory.

        Raises:
            SpireError: the database did not answer.
        """
        settled = list(self._settling)
        await self._entries.poll()
        for agent_id in settled:
            self._settling.pop(agent_id, None)
        await self._agents.poll()

    async def settle(self, agent_id: SpiffeID) -> None:
        """Wait until what was there when this agent attested here is in memory.

        That is so at once, but in the second after the attestation: only an agent's first sync
        may wait for a query. While the database is away it gets what is known.
        """
        attested_at = self._settling.pop(str(agent_id), None)
        if attested_at is None or self._entries.polls_begun > attested_at:
            return
        try:
            await self._entries.poll()
        except SpireError as error:
            log.warning(_COMPLAINT, error=error.message)

    async def fetch_agent(self, agent_id: SpiffeID) -> Agent | None:
        """The agent as the database has it now, for one that memory does not explain.

        Raises:
            SpireError: the database did not answer.
        """
        await self._entries.poll()
        agent = await self._store.get_agent(agent_id)
        if agent is None:
            self._index.remove_agent(str(agent_id))
        else:
            self._index.put_agent(agent)
        return agent

    async def reread_unlinked(self, known: Iterable[TrustDomain]) -> None:
        """Read anew the entries that federate with a trust domain whose bundle is gone.

        SPIRE, when it deletes a bundle in mode dissociate, unlinks entries without any event.
        """
        if ids := self._index.federating_with_none_of(set(known)):
            await self._entries.reread(ids)

    async def run(self) -> None:
        """Follow the database until cancelled."""
        failures = RepeatedFailures(log)
        while True:
            await self._clock.sleep(_POLL_INTERVAL)
            try:
                await self._round()
            except SpireError as error:
                failures.failed(_COMPLAINT, error)
            else:
                failures.succeeded(_COMPLAINT, "entry_cache_current_again")

    async def _round(self) -> None:
        if self._clock.monotonic() < self._next_full_reload:
            await self.refresh()
            return
        await self._entries.reload()
        await self._agents.reload()
        interval = self._full_reload_interval.total_seconds()
        self._next_full_reload = self._clock.monotonic() + interval
        await self.refresh()
