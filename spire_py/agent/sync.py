"""Follows the server: entries, bundles, and what they mean for the caches (feature O1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.svid_refresher import DenialHandler
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.errors import NotFound, SpireError, Unavailable
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.runtime.race import first_of
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

DEFAULT_INTERVAL = timedelta(seconds=5)
_MAX_PARALLEL_BUNDLES = 10
_ROUND_TIMEOUT_SECONDS = 30.0
_LEAST_PAUSE = timedelta(milliseconds=100)


class EntrySource(Protocol):
    """What a sync needs of the server."""

    async def fetch_entries(
        self, known: Mapping[str, AuthorizedEntry]
    ) -> Mapping[str, AuthorizedEntry]:
        """All entries this agent is entitled to; unchanged ones are the objects of `known`."""
        ...

    async def fetch_bundle(self) -> Bundle: ...

    async def fetch_federated_bundle(self, trust_domain: TrustDomain) -> Bundle: ...


BundleListener = Callable[[Bundle], Awaitable[None]]


class Synchronizer:
    """Fetches the whole truth every `interval` and hands it to the cache.

    When the server does not answer, the last truth stands, the waits grow by half each time up to
    48 intervals or 8 minutes, and workloads notice nothing (feature O10).

    Args:
        on_bundle: told of the own bundle after each round that brought a new one.
        changes: set when a sync need not wait for the interval.
    """

    def __init__(
        self,
        *,
        source: EntrySource,
        cache: WorkloadCache,
        denials: DenialHandler,
        on_bundle: BundleListener,
        clock: Clock,
        interval: timedelta = DEFAULT_INTERVAL,
        changes: Watch[None] | None = None,
    ) -> None:
        self._source = source
        self._cache = cache
        self._denials = denials
        self._on_bundle = on_bundle
        self._clock = clock
        self._changes = changes or Watch(None)
        self._backoff = Backoff(
            initial=interval, maximum=max(interval, min(timedelta(minutes=8), 48 * interval))
        )
        self._entries: Mapping[str, AuthorizedEntry] = {}
        self._reported_bundle = cache.bundle
        self.last_success: datetime | None = None

    async def run(self) -> NoReturn:
        """Sync until cancelled. The first round, `synchronize`, is the caller's.

        Raises:
            AgentBanned: the server banned this agent.
            AttestationLost: the server knows it no longer.
        """
        wait = min(self._backoff.next(), DEFAULT_INTERVAL)
        heard = self._changes.version
        while True:
            await self._pause(wait, heard)
            heard = self._changes.version
            try:
                await self.synchronize()
            except SpireError as error:
                log.error("Synchronize failed", error=str(error))
                await self._denials.heal(error)
                wait = self._backoff.next()
            else:
                self._backoff.reset()
                wait = self._backoff.next()
                if not self._cache.svid_count:
                    wait = min(wait, DEFAULT_INTERVAL)

    async def _pause(self, wait: timedelta, heard: int) -> None:
        """Until `wait` is over, or something changed that was not heard of before the last round.

        A stream of changes leads to a round every `_LEAST_PAUSE`, not to one for each.
        """
        least = min(wait, _LEAST_PAUSE)
        await self._clock.sleep(least)
        await first_of(self._clock.sleep(wait - least), self._changes.wait_beyond(heard))

    async def synchronize(self) -> None:
        """One round; on failure nothing has changed.

        Raises:
            SpireError: any call of the round failed.
        """
        try:
            async with asyncio.timeout(_ROUND_TIMEOUT_SECONDS):
                entries = await self._source.fetch_entries(self._entries)
                bundles = await self._fetch_bundles(entries)
        except TimeoutError as error:
            raise Unavailable("sync took longer than 30 s") from error
        self._entries = entries
        # Entries for a store are never handed to workloads (feature N8).
        self._cache.replace(
            {entry_id: entry for entry_id, entry in entries.items() if not entry.store_svid},
            bundles,
        )
        self.last_success = self._clock.now()
        if self._cache.bundle != self._reported_bundle:
            self._reported_bundle = self._cache.bundle
            await self._on_bundle(self._reported_bundle)

    async def _fetch_bundles(
        self, entries: Mapping[str, AuthorizedEntry]
    ) -> Mapping[TrustDomain, Bundle]:
        own = await self._source.fetch_bundle()
        wanted = {name for entry in entries.values() for name in entry.federates_with}
        limit = asyncio.Semaphore(_MAX_PARALLEL_BUNDLES)
        async with asyncio.TaskGroup() as tasks:
            fetches = [
                tasks.create_task(self._fetch_federated(name, limit), name=f"bundle of {name}")
                for name in sorted(wanted - {own.trust_domain})
            ]
        bundles = {own.trust_domain: own}
        for fetch in fetches:
            found = fetch.result()
            if isinstance(found, SpireError):
                raise found
            if found is not None:
                bundles[found.trust_domain] = found
        return bundles

    async def _fetch_federated(
        self, name: TrustDomain, limit: asyncio.Semaphore
    ) -> Bundle | SpireError | None:
        """The bundle, None where the server has none, or why it could not be had."""
        try:
            async with limit:
                return await self._source.fetch_federated_bundle(name)
        except NotFound:
            log.warning("Federated bundle not found", bundle=str(name))
            return None
        except SpireError as error:
            log.error("Failed to fetch federated bundle", bundle=str(name), error=str(error))
            return error
