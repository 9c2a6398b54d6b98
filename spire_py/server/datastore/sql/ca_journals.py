"""CA journals in the database: one row for each server that shares it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from spire_py.errors import InvalidArgument
from spire_py.model.ca_journal import CAJournal
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import AnyRow, Store
from spire_py.wire.stored import journal_from_stored, journal_to_stored

_JOURNALS = schema.ca_journals.c


class CAJournalStore(Store):
    """The journals of all servers (feature L13)."""

    async def get_ca_journal(self, active_x509_authority_id: str) -> CAJournal | None:
        """The journal of the server whose active X.509 authority this is.

        Raises:
            InvalidArgument: the ID is empty.
        """
        if not active_x509_authority_id:
            raise InvalidArgument("active X509 authority ID is required")
        return await self._database.read(_get, active_x509_authority_id)

    async def list_ca_journals(self) -> list[CAJournal]:
        """The journals of all servers, oldest first."""
        return await self._database.read(_list)

    async def set_ca_journal(self, journal: CAJournal) -> CAJournal:
        """Store a journal: in its row, or in a new one where it has none yet.

        Returns:
            The journal with its row.

        Raises:
            NotFound: its row is gone.
        """
        return await self._database.write(_set, journal, self._clock.now())

    async def prune_ca_journals(self, all_expired_before: datetime) -> int:
        """Delete the journals whose authorities all expired before; returns how many."""
        return await self._database.write(_prune, all_expired_before)


def _get(connection: Connection, active_x509_authority_id: str) -> CAJournal | None:
    query = select(schema.ca_journals).order_by(_JOURNALS.id)
    row = connection.execute(
        query.where(_JOURNALS.active_x509_authority_id == active_x509_authority_id)
    ).first()
    return None if row is None else _journal(row)


def _list(connection: Connection) -> list[CAJournal]:
    query = select(schema.ca_journals).order_by(_JOURNALS.id)
    return [_journal(row) for row in connection.execute(query)]


def _set(connection: Connection, journal: CAJournal, now: datetime) -> CAJournal:
    values = {
        "updated_at": now,
        "data": journal_to_stored(journal),
        "active_x509_authority_id": journal.active_x509_authority_id,
        "active_jwt_authority_id": journal.active_jwt_authority_id,
    }
    if journal.row is None:
        made = connection.execute(insert(schema.ca_journals).values(created_at=now, **values))
        key = made.inserted_primary_key
        return replace(journal, row=key[0] if key else None)
    changed = connection.execute(
        update(schema.ca_journals).where(_JOURNALS.id == journal.row).values(**values)
    )
    if changed.rowcount == 0:
        raise not_found()
    return journal


def _prune(connection: Connection, all_expired_before: datetime) -> int:
    rows = connection.execute(select(schema.ca_journals).with_for_update()).all()
    stale = [row.id for row in rows if _is_stale(_journal(row), all_expired_before)]
    for row_id in stale:
        connection.execute(delete(schema.ca_journals).where(_JOURNALS.id == row_id))
    return len(stale)


def _is_stale(journal: CAJournal, all_expired_before: datetime) -> bool:
    ends = [record.not_after for record in journal.x509_cas]
    ends += [record.not_after for record in journal.jwt_keys + journal.wit_keys]
    return all(end <= all_expired_before for end in ends)


def _journal(row: AnyRow) -> CAJournal:
    return replace(
        journal_from_stored(row.data or b""),
        row=row.id,
        active_x509_authority_id=row.active_x509_authority_id or "",
        active_jwt_authority_id=row.active_jwt_authority_id or "",
    )
