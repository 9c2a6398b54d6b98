"""Keeps every copy of the trust domain's own bundle right, wherever plugins put one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from spire_py.errors import FailedPrecondition, Internal, SpireError, Unavailable
from spire_py.plugin_api.bundle_sink import BundleSink, BundleTarget
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.runtime.race import first_of
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import LogLevel, get_logger
from spire_py.telemetry.repeated import RepeatedFailures

_CHECK_INTERVAL = timedelta(minutes=1)
_FIRST_RETRY = timedelta(seconds=1)
_SETTLING = timedelta(seconds=1)
_MOST_SECONDS = 60.0
_JITTER = 0.2

_UNWATCHED = "Changes of the published bundle are noticed late"

log = get_logger("bundle_publishing")


class BundleStore(Protocol):
    """What this component needs of the datastore."""

    async def get_bundle(self, trust_domain: TrustDomain) -> Bundle | None: ...


class BundlePublishing:
    """Looks after all targets, each by itself: one that fails delays no other.

    Args:
        trust_domain: whose bundle it is.
        notifiers: plugins by name.
        publishers: plugins by name.
        bundles: as the server sees them; a change starts a round.
        store: where the bundle is read from when it is published.
        clock: for the waits.
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        notifiers: Mapping[str, BundleSink],
        publishers: Mapping[str, BundleSink],
        bundles: Watch[Mapping[TrustDomain, Bundle]],
        store: BundleStore,
        clock: Clock,
    ) -> None:
        source = _Source(trust_domain, bundles, store)
        self._keepers = [
            *(
                _Keeper(target, source, clock, _NotifierLog(name, target.name))
                for name, sink in notifiers.items()
                for target in sink.targets
            ),
            *(
                _Keeper(target, source, clock, _PublisherLog(name, target.name))
                for name, sink in publishers.items()
                for target in sink.targets
            ),
        ]

    async def run(self) -> None:
        """Keep all copies right until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for keeper in self._keepers:
                tasks.create_task(keeper.run(), name="bundle target")


class _Source:
    """The trust domain's own bundle."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        bundles: Watch[Mapping[TrustDomain, Bundle]],
        store: BundleStore,
    ) -> None:
        self._trust_domain = trust_domain
        self._bundles = bundles
        self._store = store

    @property
    def seen(self) -> Bundle | None:
        return self._bundles.value.get(self._trust_domain)

    async def load(self) -> Bundle:
        bundle = await self._store.get_bundle(self._trust_domain)
        if bundle is None:
            raise FailedPrecondition("trust domain bundle is missing")
        if not bundle.x509_authorities:
            # As a webhook's caBundle, nothing at all would mean the system's authorities.
            raise FailedPrecondition("trust domain bundle has no X.509 authorities")
        return bundle

    async def wait_for_other_than(self, bundle: Bundle | None) -> None:
        async for _ in self._bundles:
            if self.seen != bundle:
                return


class _Log:
    """How a type of plugin speaks; the sentences are SPIRE's.

    Args:
        complaint: the sentence for a failure.
        level: of a failure.
        success: the sentence for a copy that was written.
        facts: that each line has.
    """

    def __init__(self, complaint: str, level: LogLevel, success: str, **facts: str) -> None:
        self._complaint = complaint
        self._success = success
        self._log = log.bind(**facts)
        self._failures = RepeatedFailures(self._log, level)
        self._watch_failures = RepeatedFailures(self._log)

    def failed(self, error: SpireError) -> None:
        self._failures.failed(self._complaint, error)

    def succeeded(self, written: bool) -> None:
        if written:
            self._log.debug(self._success)
        self._failures.succeeded(self._complaint, "bundle_published_again")

    def unwatched(self, error: SpireError) -> None:
        self._watch_failures.failed(_UNWATCHED, error)

    def watched(self) -> None:
        self._watch_failures.succeeded(_UNWATCHED, "published_bundle_is_watched_again")

    def changed(self) -> None:
        self._log.info("published_bundle_was_changed")


class _NotifierLog(_Log):
    def __init__(self, name: str, target: str) -> None:
        super().__init__(
            "Notifier failed to handle event",
            LogLevel.WARNING,
            "Notifier handled event",
            notifier=name,
            event_type="bundle updated",
            target=target,
        )


class _PublisherLog(_Log):
    def __init__(self, name: str, target: str) -> None:
        super().__init__(
            "Failed to publish bundle",
            LogLevel.ERROR,
            "Bundle published",
            BundlePublisher=name,
            target=target,
        )


class _Keeper:
    """Keeps one copy right."""

    def __init__(
        self,
        target: BundleTarget,
        source: _Source,
        clock: Clock,
        told: _Log,
    ) -> None:
        self._target = target
        self._source = source
        self._clock = clock
        self._log = told
        self._retries = Backoff(initial=_FIRST_RETRY, maximum=_CHECK_INTERVAL, jitter=_JITTER)
        self._settling = Backoff(initial=_SETTLING, maximum=_CHECK_INTERVAL, jitter=_JITTER)

    async def run(self) -> None:
        while True:
            seen = self._source.seen
            try:
                async with asyncio.timeout(_MOST_SECONDS):
                    written = await self._target.publish(self._source.load)
            except Exception as error:
                self._log.failed(_told(error))
                await first_of(
                    self._clock.sleep(self._retries.next()),
                    self._source.wait_for_other_than(seen),
                )
                continue
            self._log.succeeded(written)
            self._retries.reset()
            await self._watch(seen)

    async def _watch(self, seen: Bundle | None) -> None:
        """Until the bundle is another, the copy was changed, or a minute is over."""
        change = _Change(self._target, self._log, self._clock, self._settling)
        await first_of(
            self._clock.sleep(_spread(_CHECK_INTERVAL)),
            self._source.wait_for_other_than(seen),
            change.wait(),
        )
        if not change.unwatched:
            self._log.watched()
        if not change.noticed:
            self._settling.reset()


class _Change:
    """One wait for a change of the copy, and what came of it.

    Args:
        target: the copy.
        told: for the log.
        clock: for the wait after a change.
        settling: whoever changes it again and again, such as an admission webhook or a server that
            formats it another way, must not keep us busy.
    """

    def __init__(self, target: BundleTarget, told: _Log, clock: Clock, settling: Backoff) -> None:
        self._target = target
        self._log = told
        self._clock = clock
        self._settling = settling
        self.noticed = False
        self.unwatched = False

    async def wait(self) -> None:
        try:
            await self._target.wait_for_change()
        except Exception as error:
            self.unwatched = True
            self._log.unwatched(_told(error))
            await asyncio.Event().wait()
        self.noticed = True
        self._log.changed()
        await self._clock.sleep(self._settling.next())


def _told(error: Exception) -> SpireError:
    if isinstance(error, SpireError):
        return error
    if isinstance(error, TimeoutError):
        return Unavailable(f"not done within {_MOST_SECONDS:.0f} seconds")
    # A plugin's fault, and anybody may write plugins: other copies know nothing of it.
    log.exception("bundle_target_has_a_fault", error=str(error))
    return Internal(f"the plugin has a fault: {type(error).__name__}")


def _spread(wait: timedelta) -> timedelta:
    return Backoff(initial=wait, maximum=wait, jitter=_JITTER).next()
