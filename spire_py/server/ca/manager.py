"""Runs the life of the server's authorities (features L10 to L16)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn, Protocol, Self

from spire_py.crypto.subject import DEFAULT_CA_SUBJECT, CASubject
from spire_py.errors import SpireError
from spire_py.model.ca_journal import JWTKeyRecord, X509CARecord
from spire_py.plugin_api.key_manager import KeyManager, KeyType
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.server.ca.authority_kind import JWTKeys, OwnBundleOnly, SelfSigned, X509CAs
from spire_py.server.ca.ca import CA
from spire_py.server.ca.journal import Journal, JournalStore, load_journal
from spire_py.server.ca.rotation import Rotation
from spire_py.server.ca.upstream import UpstreamClient
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import LogLevel, get_logger
from spire_py.telemetry.repeated import RepeatedFailures

_ROTATE_INTERVAL = timedelta(seconds=10)
_PRUNE_BUNDLE_INTERVAL = timedelta(hours=6)
_PRUNE_JOURNALS_INTERVAL = timedelta(hours=8)
_KEEP_EXPIRED_AUTHORITIES = timedelta(hours=24)
_KEEP_EXPIRED_JOURNALS = timedelta(days=14)

log = get_logger("ca_manager")


class CAStore(JournalStore, Protocol):
    """What the CA manager needs of the datastore."""

    async def get_bundle(self, trust_domain: TrustDomain) -> Bundle | None: ...

    async def append_bundle(self, bundle: Bundle) -> Bundle: ...

    async def prune_bundle(self, trust_domain: TrustDomain, expires_before: datetime) -> bool: ...

    async def prune_ca_journals(self, all_expired_before: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class CASettings:
    """What the operator set of the CA (features A5 to A8, A14)."""

    ca_key_type: KeyType = KeyType.EC_P256
    jwt_key_type: KeyType | None = None
    """None is the type of the CA."""
    ca_ttl: timedelta = timedelta(hours=24)
    ca_subject: CASubject = DEFAULT_CA_SUBJECT
    disable_jwt_svids: bool = False


class _StoredBundle:
    """The trust domain's own bundle, and who watches it."""

    def __init__(self, store: CAStore, watch: Watch[Bundle]) -> None:
        self._store = store
        self._watch = watch
        self._trust_domain = watch.value.trust_domain

    @property
    def value(self) -> Bundle:
        return self._watch.value

    async def refresh(self) -> None:
        bundle = await self._store.get_bundle(self._trust_domain)
        self._set(bundle or Bundle(self._trust_domain))

    async def append(self, addition: Bundle) -> None:
        self._set(await self._store.append_bundle(addition))

    def _set(self, bundle: Bundle) -> None:
        if bundle != self._watch.value:
            self._watch.set(bundle)


class CAManager:
    """Prepares, activates and replaces X.509 CAs and JWT keys, and prunes what has expired.

    `load` makes one.
    """

    def __init__(
        self,
        *,
        store: CAStore,
        clock: Clock,
        trust_domain: TrustDomain,
        bundle: _StoredBundle,
        journal: Journal,
        x509_cas: Rotation[X509CARecord],
        jwt_keys: Rotation[JWTKeyRecord] | None,
        upstream: UpstreamClient | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._trust_domain = trust_domain
        self._bundle = bundle
        self._journal = journal
        self._x509_cas = x509_cas
        self._jwt_keys = jwt_keys
        self._upstream = upstream
        self._failures = RepeatedFailures(log, LogLevel.ERROR)

    @classmethod
    async def load(
        cls,
        *,
        ca: CA,
        key_manager: KeyManager,
        store: CAStore,
        clock: Clock,
        settings: CASettings = CASettings(),
        upstream: UpstreamClient | None = None,
    ) -> Self:
        """Take up the life where the last process left it; afterwards the CA can sign.

        Args:
            ca: signs with what is activated here.
            key_manager: where the keys live.
            store: journal and bundle.
            clock: the present.
            settings: what the operator set.
            upstream: who signs the CA certificates; None is the CA itself.

        Raises:
            SpireError: keys or datastore cannot be read, or there is no authority that could sign
                and none could be made.
        """
        keys = await key_manager.get_keys()
        journal = await load_journal(store, keys)
        bundle = _StoredBundle(store, ca.trust_bundle)
        await bundle.refresh()
        rotate = partial(
            Rotation,
            key_manager=key_manager,
            keys=keys,
            journal=journal,
            bundle=bundle,
            clock=clock,
        )
        issuer = upstream or SelfSigned(ca.trust_domain, settings.ca_subject, settings.ca_ttl)
        x509_cas = X509CAs(ca=ca, issuer=issuer, key_type=settings.ca_key_type, clock=clock)
        jwt_keys = JWTKeys(
            ca=ca,
            publisher=upstream or OwnBundleOnly(),
            ttl=settings.ca_ttl,
            key_type=settings.jwt_key_type or settings.ca_key_type,
        )
        manager = cls(
            store=store,
            clock=clock,
            trust_domain=ca.trust_domain,
            bundle=bundle,
            journal=journal,
            x509_cas=rotate(kind=x509_cas),
            jwt_keys=None if settings.disable_jwt_svids else rotate(kind=jwt_keys),
            upstream=upstream,
        )
        await manager._begin()
        return manager

    async def run(self) -> None:
        """Rotate and prune until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(_ROTATE_INTERVAL, self.rotate))
            tasks.create_task(self._every(_PRUNE_BUNDLE_INTERVAL, self.prune_bundle))
            tasks.create_task(self._every(_PRUNE_JOURNALS_INTERVAL, self.prune_journals))
            if self._upstream is not None:
                tasks.create_task(self._follow_roots(self._upstream))

    async def rotate(self) -> None:
        """Do what is due now. What fails is logged, and tried again in the next round."""
        await self._attempt("Unable to read the trust bundle", self._bundle.refresh)
        await self._attempt("Unable to store the CA journal", self._journal.flush)
        await self._attempt("Unable to rotate X509 CA", self._x509_cas.reconcile)
        if self._jwt_keys is not None and self._x509_cas.active is not None:
            await self._attempt("Unable to rotate JWT key", self._jwt_keys.reconcile)

    async def prune_bundle(self) -> None:
        """Remove the authorities of all servers that expired more than a day ago."""
        await self._attempt("Could not prune CA certificates", self._prune_bundle)

    async def prune_journals(self) -> None:
        """Remove the journals of servers that have not run for two weeks and more."""
        await self._attempt("Could not prune CA journals", self._prune_journals)

    async def _begin(self) -> None:
        """The first round, which must leave something that signs."""
        for rotation in (self._x509_cas, self._jwt_keys):
            if rotation is None:
                continue
            try:
                await rotation.reconcile()
            except SpireError as error:
                if rotation.active is None:
                    raise
                log.error("Unable to rotate", error=error.message)

    async def _prune_bundle(self) -> None:
        expires_before = self._clock.now() - _KEEP_EXPIRED_AUTHORITIES
        if await self._store.prune_bundle(self._trust_domain, expires_before):
            log.debug("Expired certificates were successfully pruned from bundle")
            await self._bundle.refresh()

    async def _prune_journals(self) -> None:
        await self._store.prune_ca_journals(self._clock.now() - _KEEP_EXPIRED_JOURNALS)

    async def _follow_roots(self, upstream: UpstreamClient) -> NoReturn:
        """Add the roots of the authority above to the bundle whenever there are others."""
        complaint = "Failed to store X.509 roots received by the upstream authority plugin."
        roots = None
        while True:
            asked_at = self._clock.monotonic()
            try:
                roots = roots or await upstream.next_roots()
                await self._bundle.append(roots)
            except SpireError as error:
                self._failures.failed(complaint, error)
                await self._clock.sleep(_ROTATE_INTERVAL)
            else:
                roots = None
                self._failures.succeeded(complaint, "ca_manager_recovered", complaint=complaint)
                # A plugin that does not wait must not keep the database busy.
                taken = timedelta(seconds=self._clock.monotonic() - asked_at)
                await self._clock.sleep(_ROTATE_INTERVAL - taken)

    async def _every(self, interval: timedelta, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(interval)
            await action()

    async def _attempt(self, complaint: str, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except SpireError as error:
            self._failures.failed(complaint, error)
        else:
            self._failures.succeeded(complaint, "ca_manager_recovered", complaint=complaint)
