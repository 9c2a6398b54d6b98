"""What this server remembers of its own authorities over a restart (feature L13)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from spire_py.crypto.keys import public_key_der, subject_key_id
from spire_py.errors import NotFound, SpireError
from spire_py.model.ca_journal import CAJournal
from spire_py.plugin_api.key_manager import ManagedKey
from spire_py.telemetry.logs import get_logger

MAX_RECORDS = 10
"""How many records of each kind a journal keeps."""

_NEVER = datetime.min.replace(tzinfo=UTC)

log = get_logger("ca_manager")


class JournalStore(Protocol):
    """What the journal needs of the datastore."""

    async def get_ca_journal(self, active_x509_authority_id: str) -> CAJournal | None: ...

    async def set_ca_journal(self, journal: CAJournal) -> CAJournal: ...


class Journal:
    """The journal in memory, which is what counts, and its copy in the datastore.

    A change that cannot be stored at once is kept and stored with the next `flush`. Nothing is
    stored until there is an active X.509 authority, by which the journal could be found again.
    """

    def __init__(self, store: JournalStore, journal: CAJournal) -> None:
        self._store = store
        self._journal = journal
        self._stored = journal
        self._lock = asyncio.Lock()

    @property
    def value(self) -> CAJournal:
        return self._journal

    async def update(self, journal: CAJournal) -> None:
        """Replace the journal. That it cannot be stored now is logged and nothing more."""
        self._journal = replace(
            journal,
            x509_cas=journal.x509_cas[-MAX_RECORDS:],
            jwt_keys=journal.jwt_keys[-MAX_RECORDS:],
        )
        try:
            await self.flush()
        except SpireError as error:
            log.error("Could not save CA journal in the datastore", error=error.message)

    async def flush(self) -> None:
        """Store what is not stored yet.

        Raises:
            SpireError: the datastore did not take it.
        """
        async with self._lock:
            journal = self._journal
            if journal == self._stored or not journal.active_x509_authority_id:
                return
            if journal.row is None:
                log.info("Creating a new CA journal entry")
            self._stored = await self._set(journal)
            # It may have changed meanwhile; its row is known in any case.
            self._journal = replace(self._journal, row=self._stored.row)
        log.debug(
            "Successfully stored CA journal entry in datastore",
            ca_journal_id=self._stored.row,
            local_authority_id=self._stored.active_x509_authority_id,
        )

    async def _set(self, journal: CAJournal) -> CAJournal:
        try:
            return await self._store.set_ca_journal(journal)
        except NotFound:
            # Another server, whose clock is ahead, pruned it.
            return await self._store.set_ca_journal(replace(journal, row=None))


async def load_journal(store: JournalStore, keys: Mapping[str, ManagedKey]) -> Journal:
    """Find this server's journal: its last active X.509 authority has a key that we hold.

    Raises:
        SpireError: the datastore did not answer, or the journal cannot be read.
    """
    log.debug("Loading journal from datastore")
    found = []
    for key in keys.values():
        authority_id = subject_key_id(public_key_der(key.private_key)).hex()
        journal = await store.get_ca_journal(authority_id)
        if journal is not None:
            log.debug(
                "Found a CA journal record that matches with a local X509 authority ID",
                ca_journal_id=journal.row,
                local_authority_id=authority_id,
            )
            found.append(journal)
    if not found:
        log.info(
            "There is not a CA journal record that matches any of the local X509 authority IDs"
        )
        return Journal(store, CAJournal())
    journal = max(found, key=_last_issued)
    log.info("Journal loaded", jwt_keys=len(journal.jwt_keys), x509_cas=len(journal.x509_cas))
    return Journal(store, journal)


def _last_issued(journal: CAJournal) -> datetime:
    return max((record.issued_at for record in journal.x509_cas), default=_NEVER)
