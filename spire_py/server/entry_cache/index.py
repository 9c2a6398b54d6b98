"""Entries and agents in memory, indexed for the question which entries an agent may have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector
from spire_py.server.changes import Changes
from spire_py.server.entry_cache.authorized import AuthorizedEntries
from spire_py.server.entry_cache.cached_entry import CachedEntry
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import SERVER_PATH

_K = TypeVar("_K")
_V = TypeVar("_V")

_MAX_SNAPSHOT_ENTRIES = 200_000
_MAX_SNAPSHOTS = 4096


class EntryIndex:
    """Answers from memory alone; nothing in here waits.

    Which entries an agent may have (features N1, N2): those whose parent is the agent's ID or an
    alias of it, and those below them, and so on. An alias is an entry whose parent is the server
    and whose selectors are all among the agent's. Snapshots are kept by the parents they start
    from, so that agents with the same aliases share one.
    """

    def __init__(self, trust_domain: TrustDomain, changes: Changes | None = None) -> None:
        self._trust_domain = trust_domain
        self._changes = changes or Changes()
        self._entries: dict[str, CachedEntry] = {}
        self._children: dict[str, dict[str, CachedEntry]] = {}
        self._aliases: dict[Selector, dict[str, Entry]] = {}
        self._privileged: dict[SpiffeID, dict[str, Entry]] = {}
        self._federated: dict[TrustDomain, set[str]] = {}
        self._agents: dict[str, Agent] = {}
        self._roots: dict[str, tuple[str, ...]] = {}
        self._snapshots: OrderedDict[tuple[str, ...], AuthorizedEntries] = OrderedDict()
        self._snapshot_entries = 0

    # --- what is asked ---

    @property
    def entry_ids(self) -> Iterable[str]:
        return self._entries.keys()

    @property
    def agent_ids(self) -> Iterable[str]:
        return self._agents.keys()

    def entry(self, entry_id: str) -> Entry | None:
        found = self._entries.get(entry_id)
        return None if found is None else found.entry

    def agent(self, agent_id: SpiffeID) -> Agent | None:
        return self._agents.get(str(agent_id))

    def privileged(self, spiffe_id: SpiffeID, now: datetime) -> list[Entry]:
        """The entries with this ID that give admin or downstream rights (features N6, N7)."""
        entries = self._privileged.get(spiffe_id, {}).values()
        return [entry for entry in entries if not entry.is_expired(now)]

    def federating_with_none_of(self, known: set[TrustDomain]) -> set[str]:
        """IDs of the entries that federate with a trust domain that is not known."""
        gone = self._federated.keys() - known
        return set().union(*(self._federated[domain] for domain in gone))

    def authorized(self, agent_id: SpiffeID, now: datetime) -> AuthorizedEntries:
        """The entries this agent may have; none that has expired."""
        key = tuple(path for path in self._agent_roots(agent_id) if path in self._children)
        snapshot = self._snapshots.get(key)
        if snapshot is not None and (snapshot.valid_until is None or now < snapshot.valid_until):
            self._snapshots.move_to_end(key)
            return snapshot
        if snapshot is not None:
            self._drop_snapshot(key)
        snapshot = self._crawl(key, now)
        self._keep_snapshot(key, snapshot)
        return snapshot

    # --- what changes ---

    def put_entry(self, entry: Entry) -> None:
        """Add an entry, or replace the one with its ID."""
        old = self._entries.get(entry.id)
        if old is not None:
            if old.entry == entry:
                return
            self._unlink(old.entry)
        cached = CachedEntry(entry)
        self._entries[entry.id] = cached
        self._link(cached)
        self._changes.tell_all()

    def remove_entry(self, entry_id: str) -> None:
        old = self._entries.pop(entry_id, None)
        if old is not None:
            self._unlink(old.entry)
            self._changes.tell_all()

    def put_agent(self, agent: Agent) -> None:
        """Add an agent, or replace the one with its ID."""
        key = str(agent.id)
        old = self._agents.get(key)
        self._agents[key] = agent
        if old is None or old.selectors != agent.selectors:
            self._roots.pop(key, None)
        if old != agent:
            self._changes.tell(key)

    def remove_agent(self, agent_id: str) -> None:
        self._roots.pop(agent_id, None)
        if self._agents.pop(agent_id, None) is not None:
            self._changes.tell(agent_id)

    # --- links ---

    def _link(self, cached: CachedEntry) -> None:
        entry = cached.entry
        for domain in entry.federates_with:
            self._federated.setdefault(domain, set()).add(entry.id)
        if entry.admin or entry.downstream:
            self._privileged.setdefault(entry.spiffe_id, {})[entry.id] = entry
        if not self._is_ours(entry):
            return
        if entry.parent_id.path == SERVER_PATH:
            # An alias without selectors matches no agent, as in SPIRE.
            if entry.selectors:
                self._aliases.setdefault(entry.selectors[0], {})[entry.id] = entry
                self._roots.clear()
            return
        self._children.setdefault(entry.parent_id.path, {})[entry.id] = cached
        self._outdate(entry.parent_id.path)

    def _unlink(self, entry: Entry) -> None:
        for domain in entry.federates_with:
            _discard(self._federated, domain, entry.id)
        if entry.admin or entry.downstream:
            _remove(self._privileged, entry.spiffe_id, entry.id)
        if not self._is_ours(entry):
            return
        if entry.parent_id.path == SERVER_PATH:
            if entry.selectors:
                _remove(self._aliases, entry.selectors[0], entry.id)
                self._roots.clear()
            return
        _remove(self._children, entry.parent_id.path, entry.id)
        self._outdate(entry.parent_id.path)

    def _is_ours(self, entry: Entry) -> bool:
        return (
            entry.parent_id.trust_domain == self._trust_domain
            and entry.spiffe_id.trust_domain == self._trust_domain
        )

    # --- the crawl ---

    def _agent_roots(self, agent_id: SpiffeID) -> tuple[str, ...]:
        key = str(agent_id)
        roots = self._roots.get(key)
        if roots is not None:
            return roots
        agent = self._agents.get(key)
        selectors = set(agent.selectors) if agent is not None else set()
        # Each alias is filed under one of its selectors, which a matching agent must have.
        aliases = {
            alias.spiffe_id.path
            for selector in selectors
            for alias in self._aliases.get(selector, {}).values()
            if selectors.issuperset(alias.selectors)
        }
        roots = tuple(sorted({agent_id.path, *aliases}))
        if agent is not None:
            self._roots[key] = roots
        return roots

    def _crawl(self, roots: tuple[str, ...], now: datetime) -> AuthorizedEntries:
        seen: set[str] = set()
        found: list[CachedEntry] = []
        to_do = list(roots)
        while to_do:
            path = to_do.pop()
            if path in seen:
                continue
            seen.add(path)
            for child in self._children.get(path, {}).values():
                if child.entry.is_expired(now):
                    continue
                found.append(child)
                to_do.append(child.entry.spiffe_id.path)
        return AuthorizedEntries(found, frozenset(seen))

    def _keep_snapshot(self, key: tuple[str, ...], snapshot: AuthorizedEntries) -> None:
        self._snapshots[key] = snapshot
        self._snapshot_entries += len(snapshot)
        # Dropping a snapshot that is in use makes its agents sync for nothing: there is room for
        # all where each entry belongs to a few agents.
        most_entries = max(_MAX_SNAPSHOT_ENTRIES, 4 * len(self._entries))
        most_snapshots = max(_MAX_SNAPSHOTS, 2 * len(self._agents))
        while len(self._snapshots) > 1 and (
            self._snapshot_entries > most_entries or len(self._snapshots) > most_snapshots
        ):
            self._drop_snapshot(next(iter(self._snapshots)))

    def _drop_snapshot(self, key: tuple[str, ...]) -> None:
        self._snapshot_entries -= len(self._snapshots.pop(key))

    def _outdate(self, parent: str) -> None:
        stale = [key for key, kept in self._snapshots.items() if parent in kept.parents]
        for key in stale:
            self._drop_snapshot(key)


def _remove(table: dict[_K, dict[str, _V]], key: _K, entry_id: str) -> None:
    inner = table.get(key)
    if inner is None:
        return
    inner.pop(entry_id, None)
    if not inner:
        del table[key]


def _discard(table: dict[_K, set[str]], key: _K, entry_id: str) -> None:
    inner = table.get(key)
    if inner is None:
        return
    inner.discard(entry_id)
    if not inner:
        del table[key]
