"""Has the server sign the X.509-SVIDs that are missing, old or outdated (features O1 to O3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NoReturn, Protocol

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.cached_svid import CachedSVID
from spire_py.agent.rotation import RotationStrategy
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import PrivateKey, generate_key, private_key_to_pkcs8, public_key_der
from spire_py.errors import InvalidArgument, SpireError
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

MAX_BATCH = 500
"""What SPIRE's server signs for one address in a second."""

_TICK = timedelta(seconds=5)
_FIRST_RETRY = timedelta(milliseconds=500)
_LAST_RETRY = timedelta(minutes=4)


class X509Signer(Protocol):
    """What the refresher needs of the server."""

    async def new_x509svids(self, csrs: Mapping[str, bytes]) -> Mapping[str, tuple[bytes, ...]]:
        """Chains by entry ID, leaf first; entries that are refused are left out."""
        ...


class DenialHandler(Protocol):
    """What to do when the server refuses this agent."""

    async def heal(self, error: SpireError) -> None:
        """Attest anew where `error` asks for it.

        Raises:
            AgentBanned: the daemon has to end.
            AttestationLost: likewise.
        """
        ...


class SVIDRefresher:
    """Signs what the cache says is due: at once when a workload waits, else with the tick."""

    def __init__(
        self,
        *,
        cache: WorkloadCache,
        signer: X509Signer,
        denials: DenialHandler,
        clock: Clock,
        strategy: RotationStrategy,
        key_type: str,
    ) -> None:
        self._cache = cache
        self._signer = signer
        self._denials = denials
        self._clock = clock
        self._strategy = strategy
        self._key_type = key_type
        self._batch_size = MAX_BATCH
        self._backoff = Backoff(initial=_FIRST_RETRY, maximum=_LAST_RETRY)

    async def run(self) -> None:
        """Refresh until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="svid refresh tick")
            tasks.create_task(self._serve(), name="svid refresh")

    async def _tick(self) -> NoReturn:
        while True:
            rotation = self._cache.next_rotation()
            wait = _TICK if rotation is None else min(_TICK, rotation - self._clock.now())
            await self._clock.sleep(max(wait, _FIRST_RETRY))
            self._cache.wanted.set()

    async def _serve(self) -> NoReturn:
        while True:
            await self._cache.wanted.wait()
            self._cache.wanted.clear()
            try:
                await self.refresh()
            except SpireError as error:
                log.error("SVID sync failed", error=str(error))
                self._batch_size = max(1, self._batch_size // 2)
                await self._denials.heal(error)
                await self._clock.sleep(self._backoff.next())
                self._cache.wanted.set()
            else:
                self._backoff.reset()

    async def refresh(self) -> None:
        """Sign all that is due, batch after batch. Each entry is tried once.

        Raises:
            SpireError: a whole batch failed; those before it are kept.
        """
        tried: set[str] = set()
        while True:
            due = [item for item in self._cache.due(self._clock.now()) if item.id not in tried]
            if not due:
                return
            batch = due[: self._batch_size]
            tried.update(entry.id for entry in batch)
            self._cache.store_svids(await self._sign(batch))
            self._batch_size = min(MAX_BATCH, self._batch_size * 2)

    async def _sign(self, entries: Sequence[AuthorizedEntry]) -> Mapping[str, CachedSVID]:
        self._announce(entries)
        keys, csrs = await asyncio.to_thread(_make_csrs, entries, self._key_type)
        chains = await self._signer.new_x509svids(csrs)
        return await asyncio.to_thread(self._check_all, entries, keys, chains)

    def _announce(self, entries: Sequence[AuthorizedEntry]) -> None:
        known = self._cache.svids()
        for entry in entries:
            svid = known.get(entry.id)
            if svid is None:
                log.info("Creating X509-SVID", spiffe_id=str(entry.spiffe_id), entry_id=entry.id)
            else:
                log.info(
                    "Renewing X509-SVID",
                    spiffe_id=str(entry.spiffe_id),
                    entry_id=entry.id,
                    expires_at=svid.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
                )

    def _check_all(
        self,
        entries: Sequence[AuthorizedEntry],
        keys: Mapping[str, PrivateKey],
        chains: Mapping[str, tuple[bytes, ...]],
    ) -> Mapping[str, CachedSVID]:
        svids = {}
        for entry in entries:
            chain = chains.get(entry.id)
            if chain is None:
                continue
            try:
                svids[entry.id] = self._check(entry, keys[entry.id], chain)
            except InvalidArgument as error:
                log.error("Invalid X509-SVID received", entry_id=entry.id, error=str(error))
        return svids

    def _check(
        self, entry: AuthorizedEntry, key: PrivateKey, chain: tuple[bytes, ...]
    ) -> CachedSVID:
        if not chain:
            raise InvalidArgument("chain is empty")
        leaf = CertificateFacts(chain[0])
        if leaf.uris != (str(entry.spiffe_id),):
            raise InvalidArgument(f"SVID is for {leaf.uris}, not for {entry.spiffe_id}")
        if leaf.public_key_der != public_key_der(key):
            raise InvalidArgument("SVID is for another key")
        if self._strategy.falls_short(leaf.not_before, leaf.not_after):
            log.warning(
                "X509 SVID lifetime isn't long enough to guarantee the availability_target, "
                "falling back to the default rotation strategy",
                spiffe_id=str(entry.spiffe_id),
                entry_id=entry.id,
            )
        return CachedSVID(
            entry=entry,
            chain=chain,
            key=private_key_to_pkcs8(key),
            not_after=leaf.not_after,
            rotate_at=self._strategy.rotate_at(leaf.not_before, leaf.not_after),
        )


def _make_csrs(
    entries: Sequence[AuthorizedEntry], key_type: str
) -> tuple[dict[str, PrivateKey], dict[str, bytes]]:
    keys = {entry.id: generate_key(key_type) for entry in entries}
    csrs = {entry.id: make_csr(keys[entry.id], uri=str(entry.spiffe_id)) for entry in entries}
    return keys, csrs
