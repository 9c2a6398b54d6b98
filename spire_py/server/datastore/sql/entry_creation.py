"""Many entries created in one transaction, each accepted or refused by itself."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, select

from spire_py.errors import AlreadyExists, SpireError
from spire_py.model.entry import Entry
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.entry_checks import check_new
from spire_py.server.datastore.sql.entry_duplicates import Key, find_similar, key_of
from spire_py.server.datastore.sql.entry_rows import fetch_entries, rounded
from spire_py.server.datastore.sql.entry_writes import bundle_rows, insert_entries, no_bundle
from spire_py.server.datastore.sql.store import chunks

CreateResult: TypeAlias = tuple[Entry, bool] | SpireError
"""An entry as it is stored and whether it was there before; or why it was refused."""

_CREATE_LOCK = 0x5350_4953
"""Any number will do, as long as all of our servers take the same one."""


def create_entries(
    connection: Connection, entries: Sequence[Entry], now: datetime
) -> list[CreateResult]:
    """Store those entries that are acceptable and new; the results are in the entries' order."""
    if connection.dialect.name == "postgresql":
        # Two servers that create the same entry at once must not both find nothing similar.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATE_LOCK})")
    creation = _Creation(connection, entries, now)
    results = [creation.take(entry) for entry in entries]
    insert_entries(connection, creation.new, now)
    return results


class _Creation:
    """What is known before and while entries are taken one after the other."""

    def __init__(self, connection: Connection, entries: Sequence[Entry], now: datetime) -> None:
        self.new: list[Entry] = []
        self._created_at = rounded(now)
        self._taken_ids = _taken_ids(connection, entries)
        self._bundles = bundle_rows(
            connection, (trust_domain for entry in entries for trust_domain in entry.federates_with)
        )
        similar = find_similar(connection, (key_of(entry) for entry in entries))
        known = {entry.id: entry for entry in fetch_entries(connection, similar.values())}
        self._stored: dict[Key, Entry] = {
            key: known[entry_id] for key, entry_id in similar.items() if entry_id in known
        }
        self._id_refusal = (
            "UNIQUE constraint failed: registered_entries.entry_id"
            if connection.dialect.name == "sqlite"
            else "pq: duplicate key value violates unique constraint "
            '"uix_registered_entries_entry_id"'
        )

    def take(self, entry: Entry) -> CreateResult:
        """Decide about one entry; later ones see it as stored."""
        try:
            check_new(entry)
        except SpireError as error:
            return error
        key = key_of(entry)
        if key in self._stored:
            return self._stored[key], True
        if entry.id in self._taken_ids:
            return AlreadyExists(f"datastore-sql: {self._id_refusal}")
        for trust_domain in entry.federates_with:
            if str(trust_domain.id) not in self._bundles:
                return no_bundle(trust_domain)
        made = replace(
            entry,
            id=entry.id or str(uuid.uuid4()),
            selectors=tuple(sorted(set(entry.selectors))),
            federates_with=tuple(sorted(set(entry.federates_with))),
            dns_names=tuple(dict.fromkeys(entry.dns_names)),
            revision_number=0,
            created_at=self._created_at,
        )
        self._stored[key] = made
        self._taken_ids.add(made.id)
        self.new.append(made)
        return made, False


def _taken_ids(connection: Connection, entries: Sequence[Entry]) -> set[str]:
    """Those of the entries' own IDs that are stored already."""
    column = schema.entries.c.entry_id
    taken: set[str] = set()
    for chunk in chunks(entry.id for entry in entries if entry.id):
        taken.update(connection.execute(select(column).where(column.in_(chunk))).scalars())
    return taken
