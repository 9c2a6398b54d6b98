"""The life of one kind of authority: prepared, active, old (features L11, L12, L15)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, Protocol

from spire_py.crypto.keys import public_key_der
from spire_py.errors import InvalidArgument
from spire_py.model.ca_journal import AuthorityStatus
from spire_py.plugin_api.key_manager import KeyManager, ManagedKey
from spire_py.runtime.clock import Clock
from spire_py.server.ca.authority_kind import AuthorityKind, R
from spire_py.server.ca.journal import Journal
from spire_py.server.ca.lifetime import is_valid, wants_successor, wants_to_retire
from spire_py.spiffe.bundle import Bundle
from spire_py.telemetry.logs import get_logger

log = get_logger("ca_manager")


class TrustBundle(Protocol):
    """The trust domain's own bundle in the datastore."""

    @property
    def value(self) -> Bundle:
        """As last seen."""
        ...

    async def refresh(self) -> None:
        """Look again.

        Raises:
            SpireError: the datastore did not answer.
        """
        ...

    async def append(self, addition: Bundle) -> None:
        """Add authorities.

        Raises:
            SpireError: the datastore did not take them.
        """
        ...


class Rotation(Generic[R]):
    """Sees to it that there is always an authority that signs, and in time one after it.

    All it knows stands in the journal, the key manager and the bundle; `reconcile` compares them
    with the clock and does what is due. It may be killed between any two steps: what a step leaves
    behind is either taken up by the next `reconcile`, or an authority in the bundle that never
    signs and is pruned when it expires.

    Args:
        kind: X.509 CAs or JWT keys.
        key_manager: where new keys are made.
        keys: the keys it held at the start.
        journal: shared by all kinds.
        bundle: shared by all kinds.
        clock: the present.
    """

    def __init__(
        self,
        *,
        kind: AuthorityKind[R],
        key_manager: KeyManager,
        keys: Mapping[str, ManagedKey],
        journal: Journal,
        bundle: TrustBundle,
        clock: Clock,
    ) -> None:
        self._kind = kind
        self._key_manager = key_manager
        self._keys = dict(keys)
        self._journal = journal
        self._bundle = bundle
        self._clock = clock
        self._installed = ""
        self._lock = asyncio.Lock()

    @property
    def active(self) -> R | None:
        """The authority that signs; None where it is unusable or there is none."""
        return self._newest(AuthorityStatus.ACTIVE)

    @property
    def prepared(self) -> R | None:
        """The authority after it; None where it is unusable or there is none."""
        return self._newest(AuthorityStatus.PREPARED, AuthorityStatus.UNKNOWN)

    async def reconcile(self) -> None:
        """Do what is due now, if anything is.

        Raises:
            SpireError: something could not be done. What signed before goes on doing so.
        """
        async with self._lock:
            active, now = self.active, self._clock.now()
            if active is not None:
                self._install(active)
            if active is None or wants_successor(active.issued_at, active.not_after, now):
                await self._prepare()
            if active is None or wants_to_retire(active.issued_at, active.not_after, now):
                await self._activate()

    async def _prepare(self) -> None:
        """Make the next authority and publish it, if there is none yet."""
        if self.prepared is not None:
            return
        slot_id = self._free_slot()
        log.debug(self._kind.preparing, slot=slot_id)
        # Before a key is overwritten, the journal must tell that it is not in use any more; and
        # while the datastore is away there is no sense in making a key.
        await self._journal.flush()
        await self._bundle.refresh()
        key = await self._new_key(slot_id)
        record, addition = await self._kind.issue(slot_id, key.private_key, self._clock.now())
        await self._bundle.append(addition)
        journal = self._journal.value
        await self._journal.update(
            self._kind.with_records(journal, (*self._kind.records(journal), record))
        )
        log.info(self._kind.prepared, **self._kind.facts(record))

    async def _new_key(self, slot_id: str) -> ManagedKey:
        key_id = f"{self._kind.key_prefix}-{slot_id}"
        key = await self._key_manager.generate_key(key_id, self._kind.key_type)
        self._keys[key_id] = key
        return key

    async def _activate(self) -> None:
        """Let the prepared authority take over."""
        prepared = self.prepared
        if prepared is None:
            return
        active = replace(prepared, status=AuthorityStatus.ACTIVE)
        journal = self._journal.value
        records = tuple(
            active if record is prepared else replace(record, status=AuthorityStatus.OLD)
            for record in self._kind.records(journal)
        )
        # It is published, so it signs from now on, even should the journal not be stored.
        self._install(active)
        await self._journal.update(self._kind.with_records(journal, records))

    def _install(self, record: R) -> None:
        if self._installed == record.authority_id:
            return
        self._kind.install(record, self._key(record).private_key)
        self._installed = record.authority_id
        log.info(self._kind.activated, **self._kind.facts(record))

    def _newest(self, *statuses: AuthorityStatus) -> R | None:
        records = self._kind.records(self._journal.value)
        usable = (each for each in reversed(records) if self._is_usable(each, statuses))
        return next(usable, None)

    def _is_usable(self, record: R, statuses: tuple[AuthorityStatus, ...]) -> bool:
        return (
            record.status in statuses
            and is_valid(record.issued_at, record.not_after, self._clock.now())
            and self._has_key(record)
            and self._kind.is_published(record, self._bundle.value)
        )

    def _has_key(self, record: R) -> bool:
        key = self._keys.get(f"{self._kind.key_prefix}-{record.slot_id}")
        try:
            return key is not None and public_key_der(key.private_key) == self._kind.public_key(
                record
            )
        except InvalidArgument:
            return False

    def _key(self, record: R) -> ManagedKey:
        return self._keys[f"{self._kind.key_prefix}-{record.slot_id}"]

    def _free_slot(self) -> str:
        """The slot that does not hold the key of what was activated last."""
        records = self._kind.records(self._journal.value)
        for record in reversed(records):
            if record.status is AuthorityStatus.ACTIVE and self._has_key(record):
                return "B" if record.slot_id == "A" else "A"
        return "A"
