"""Entries, SVIDs and bundles, and who waits for which of them (features O8, O10, C14)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.cached_svid import CachedSVID
from spire_py.agent.entry_index import EntryIndex
from spire_py.agent.workload_update import EncodedBundle, WorkloadUpdate
from spire_py.model.selector import Selector
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain

_MAX_IDLE_GROUPS = 1000


class WorkloadGroup:
    """All streams of workloads with one set of selectors. They see the same updates."""

    def __init__(
        self, selectors: frozenset[Selector], entries: tuple[AuthorizedEntry, ...]
    ) -> None:
        self.selectors = selectors
        self.entries = entries
        self.subscribers = 0
        self._update: Watch[WorkloadUpdate | None] = Watch(None)

    @property
    def update(self) -> WorkloadUpdate | None:
        """The latest update; None while an SVID of a new group is still to be signed."""
        return self._update.value

    def publish(self, update: WorkloadUpdate) -> None:
        if self._update.value is not update:
            self._update.set(update)

    async def next_update(self, version: int) -> tuple[int, WorkloadUpdate]:
        """The latest update with its version, as soon as that is higher than `version`.

        Begin with -1. A slow reader sees the latest, not each one in between.
        """
        while True:
            version, update = await self._update.wait_beyond(version)
            if update is not None:
                return version, update


class WorkloadCache:
    """What the agent knows for its workloads.

    A subscriber of a new group hears nothing until all SVIDs of the group are there; later ones it
    hears of as they come. What a change means is worked out anew for every group with subscribers.
    Updates that say the same are one object.
    """

    def __init__(self, *, bundle: Bundle, max_svids: int) -> None:
        self._trust_domain = bundle.trust_domain
        self._bundles: dict[TrustDomain, EncodedBundle] = {
            bundle.trust_domain: EncodedBundle(bundle)
        }
        self._max_svids = max_svids
        self._index = EntryIndex()
        self._svids: OrderedDict[str, CachedSVID] = OrderedDict()
        self._distrusted: set[str] = set()
        self._groups: dict[frozenset[Selector], WorkloadGroup] = {}
        self._idle: OrderedDict[frozenset[Selector], WorkloadGroup] = OrderedDict()
        self._updates: dict[tuple[str, ...], WorkloadUpdate] = {}
        self.wanted = asyncio.Event()
        """Set when a subscriber waits for an SVID; whoever signs clears it."""

    @property
    def bundle(self) -> Bundle:
        """The own trust domain's bundle."""
        return self._bundles[self._trust_domain].bundle

    @property
    def svid_count(self) -> int:
        return len(self._svids)

    @property
    def entry_count(self) -> int:
        return len(self._index)

    def replace(
        self, entries: Mapping[str, AuthorizedEntry], bundles: Mapping[TrustDomain, Bundle]
    ) -> None:
        """Take what a sync brought as the whole state.

        The own bundle stays even where `bundles` lacks it: the server is known by it.
        """
        bundles_changed = self._replace_bundles(bundles)
        entries_changed = self._index.replace(entries)
        if entries_changed:
            for entry_id in [item for item in self._svids if self._index.get(item) is None]:
                self._forget(entry_id)
            for group in self._groups.values():
                group.entries = self._index.match(group.selectors)
        if bundles_changed or entries_changed:
            self._refresh()
        self.wanted.set()

    def store_svids(self, svids: Mapping[str, CachedSVID]) -> None:
        """Keep SVIDs by entry ID. Those whose entry has gone in the meantime are dropped."""
        for entry_id, svid in svids.items():
            if self._index.get(entry_id) is not None:
                self._svids[entry_id] = svid
                self._distrusted.discard(entry_id)
        self._evict()
        self._refresh()

    def rotate_now(self, entry_ids: Iterable[str]) -> None:
        """Have these SVIDs signed anew; until then workloads keep what they have."""
        self._distrusted.update(item for item in entry_ids if item in self._svids)
        self.wanted.set()

    def svids(self) -> Mapping[str, CachedSVID]:
        """The SVIDs by entry ID, least recently used first."""
        return self._svids

    def due(self, now: datetime) -> list[AuthorizedEntry]:
        """The entries that need an SVID signed: those that workloads wait for come first.

        Then SVIDs to rotate and those of changed entries, then prefetch while there is room.
        """
        due = {entry.id: entry for entry in self._subscribed() if entry.id not in self._svids}
        for entry_id, svid in self._svids.items():
            entry = self._index.get(entry_id)
            if entry is not None and (
                now >= svid.rotate_at
                or not svid.entry.is_current(entry.revision_number, entry.created_at)
                or entry_id in self._distrusted
            ):
                due[entry_id] = entry
        due.update((entry.id, entry) for entry in self._prefetch(due))
        return list(due.values())

    def next_rotation(self) -> datetime | None:
        """When the first SVID is to be rotated; None while there are none."""
        return min((svid.rotate_at for svid in self._svids.values()), default=None)

    def entries(self) -> Iterator[AuthorizedEntry]:
        """All entries, in no order."""
        return iter(self._index)

    def match(self, selectors: frozenset[Selector]) -> tuple[AuthorizedEntry, ...]:
        """The entries for a workload with these selectors, sorted by entry ID."""
        group = self._groups.get(selectors) or self._idle.get(selectors)
        return self._index.match(selectors) if group is None else group.entries

    def current(self, selectors: frozenset[Selector]) -> WorkloadUpdate:
        """What a workload with these selectors is told now, without a wait for missing SVIDs."""
        group = self._groups.get(selectors) or self._idle.get(selectors)
        if group is not None and group.update is not None:
            return group.update
        return self._build(self.match(selectors))

    @contextmanager
    def subscribe(self, selectors: frozenset[Selector]) -> Iterator[WorkloadGroup]:
        """Follow the updates for a set of selectors for as long as the context is open."""
        group = self._groups.get(selectors)
        if group is None:
            group = self._idle.pop(selectors, None) or self._new_group(selectors)
            self._groups[selectors] = group
        for entry in group.entries:
            if entry.id in self._svids:
                self._svids.move_to_end(entry.id)
        group.subscribers += 1
        try:
            yield group
        finally:
            group.subscribers -= 1
            if not group.subscribers:
                self._rest(group)

    def _new_group(self, selectors: frozenset[Selector]) -> WorkloadGroup:
        group = WorkloadGroup(selectors, self._index.match(selectors))
        self._bring_up_to_date(group)
        if group.update is None:
            self.wanted.set()
        return group

    def _rest(self, group: WorkloadGroup) -> None:
        """Keep a group that nobody follows for the next caller like it, until anything changes."""
        del self._groups[group.selectors]
        if group.update is not None:
            self._idle[group.selectors] = group
            if len(self._idle) > _MAX_IDLE_GROUPS:
                self._idle.popitem(last=False)

    def _refresh(self) -> None:
        self._idle.clear()
        for group in self._groups.values():
            self._bring_up_to_date(group)
        in_use = {id(group.update) for group in self._groups.values()}
        self._updates = {
            key: update for key, update in self._updates.items() if id(update) in in_use
        }

    def _bring_up_to_date(self, group: WorkloadGroup) -> None:
        if group.update is None and any(entry.id not in self._svids for entry in group.entries):
            return
        group.publish(self._build(group.entries))

    def _build(self, entries: tuple[AuthorizedEntry, ...]) -> WorkloadUpdate:
        signed = [entry for entry in entries if entry.id in self._svids]
        identities = tuple(self._svids[entry.id] for entry in signed)
        bundle = self._bundles[self._trust_domain]
        domains = {name for entry in signed for name in entry.federates_with}
        federated = tuple(
            self._bundles[name]
            for name in sorted(domains)
            if name in self._bundles and name != self._trust_domain
        )
        key = tuple(entry.id for entry in signed)
        known = self._updates.get(key)
        if known is not None and known.consists_of(identities, bundle, federated):
            return known
        update = self._updates[key] = WorkloadUpdate(identities, bundle, federated)
        return update

    def _replace_bundles(self, bundles: Mapping[TrustDomain, Bundle]) -> bool:
        changed = False
        for name in [item for item in self._bundles if item not in bundles]:
            if name != self._trust_domain:
                del self._bundles[name]
                changed = True
        for name, bundle in bundles.items():
            known = self._bundles.get(name)
            if known is None or known.bundle != bundle:
                self._bundles[name] = EncodedBundle(bundle)
                changed = True
        return changed

    def _prefetch(self, due: Mapping[str, AuthorizedEntry]) -> Iterator[AuthorizedEntry]:
        """As many of the entries without an SVID as the cache has room for."""
        missing = sum(entry_id not in self._svids for entry_id in due)
        room = self._max_svids - len(self._svids) - missing
        if room <= 0 or len(self._svids) >= len(self._index):
            return
        wanted = (
            entry
            for entry in self._index
            if entry.id not in self._svids
            and entry.id not in due
            and not entry.disable_x509_svid_prefetch
        )
        yield from islice(wanted, room)

    def _subscribed(self) -> Iterator[AuthorizedEntry]:
        for group in self._groups.values():
            yield from group.entries

    def _evict(self) -> None:
        """Forget the SVIDs longest unused, down to the limit. Those with subscribers stay."""
        extra = len(self._svids) - self._max_svids
        if extra <= 0:
            return
        kept = {entry.id for entry in self._subscribed()}
        for entry_id in [item for item in self._svids if item not in kept][:extra]:
            self._forget(entry_id)

    def _forget(self, entry_id: str) -> None:
        del self._svids[entry_id]
        self._distrusted.discard(entry_id)
