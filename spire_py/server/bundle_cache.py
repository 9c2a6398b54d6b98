"""All bundles in memory, never more than a poll behind the database (docs/decisions/0007)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Protocol

from spire_py.errors import SpireError
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.server.changes import Changes
from spire_py.server.datastore.filters import Page
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.telemetry.repeated import RepeatedFailures

_POLL_INTERVAL = timedelta(seconds=1)
_COMPLAINT = "Failed to refresh the bundles"

log = get_logger("endpoints")


class BundleStore(Protocol):
    """What the cache needs of the datastore."""

    async def list_bundles(self, page: Page | None) -> tuple[list[Bundle], str]: ...


class BundleCache:
    """Our own bundle and all federated ones. There are no events about bundles: they are polled.

    Args:
        store: where they lie.
        clock: for the polls.
        listed: called after each poll with the trust domains that have a bundle.
        changes: told whenever a bundle has changed.
    """

    def __init__(
        self,
        *,
        store: BundleStore,
        clock: Clock,
        listed: Callable[[Iterable[TrustDomain]], Awaitable[None]],
        changes: Changes | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._listed = listed
        self._changes = changes or Changes()
        self._writes = 0
        self.bundles: Watch[Mapping[TrustDomain, Bundle]] = Watch({})
        """The bundles as last seen; a new value only when one has changed."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None:
        return self.bundles.value.get(trust_domain)

    def put(self, bundle: Bundle) -> None:
        """Take in what this server wrote itself."""
        self._writes += 1
        if self.get(bundle.trust_domain) != bundle:
            self._set({**self.bundles.value, bundle.trust_domain: bundle})

    async def removed(self, trust_domain: TrustDomain) -> None:
        """Take in that this server deleted a bundle, and what that did to entries."""
        self._writes += 1
        rest = {key: kept for key, kept in self.bundles.value.items() if key != trust_domain}
        self._set(rest)
        try:
            await self._listed(rest)
        except SpireError as error:
            log.warning("Failed to refresh the entry cache", error=error.message)

    def _set(self, bundles: Mapping[TrustDomain, Bundle]) -> None:
        self.bundles.set(bundles)
        self._changes.tell_all()

    async def refresh(self) -> None:
        """Take in what the database has now.

        Raises:
            SpireError: it did not answer.
        """
        writes = self._writes
        bundles, _ = await self._store.list_bundles(None)
        if writes != self._writes:
            # Something was written here meanwhile, and may be newer. The next poll will tell.
            return
        found = {bundle.trust_domain: bundle for bundle in bundles}
        if found != self.bundles.value:
            self._set(found)
        await self._listed(found)

    async def run(self) -> None:
        """Follow the database until cancelled."""
        failures = RepeatedFailures(log)
        while True:
            await self._clock.sleep(_POLL_INTERVAL)
            try:
                await self.refresh()
            except SpireError as error:
                failures.failed(_COMPLAINT, error)
            else:
                failures.succeeded(_COMPLAINT, "bundles_current_again")
