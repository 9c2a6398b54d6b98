"""Registration entries in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from spire_py.errors import AlreadyExists, SpireError
from spire_py.model.entry import Entry
from spire_py.server.datastore.filters import EntryFilter, Page
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.entry_creation import CreateResult, create_entries
from spire_py.server.datastore.sql.entry_filters import filtered
from spire_py.server.datastore.sql.entry_rows import (
    build_entries,
    fetch_entries,
    load_entries,
    select_entries,
)
from spire_py.server.datastore.sql.entry_writes import delete_entries, update_entry
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import (
    Store,
    events_after,
    latest_event_id,
    next_token,
    paged,
    prune_events,
)

_ENTRIES = schema.entries.c
_EVERYTHING = EntryFilter()


class EntryStore(Store):
    """Registration entries and the events about them."""

    async def create_entry(self, entry: Entry) -> tuple[Entry, bool]:
        """Store an entry, under a new ID where it has none.

        Returns:
            The stored entry, and whether it is a similar one that was there before (N15).

        Raises:
            InvalidArgument: the entry is not acceptable.
            AlreadyExists: its ID is taken.
            Internal: a trust domain it federates with has no bundle.
        """
        result = (await self.create_entries([entry]))[0]
        if isinstance(result, SpireError):
            raise result
        return result

    async def create_entries(self, entries: Sequence[Entry]) -> list[CreateResult]:
        """Store many entries in one transaction; each is accepted or refused by itself."""
        try:
            return await self._database.write(create_entries, entries, self._clock.now())
        except AlreadyExists:
            # Another server took one of the IDs meanwhile. One by one, only that one is refused.
            return [await self._create_alone(entry) for entry in entries]

    async def update_entry(self, entry: Entry, mask: frozenset[str] | None = None) -> Entry:
        """Change the entry of this ID; see `wire/entries.py` for the names in a mask.

        Raises:
            NotFound: there is none.
            InvalidArgument: what it would become is not acceptable.
            Internal: a trust domain it is to federate with has no bundle.
        """
        return await self._database.write_durably(update_entry, entry, mask, self._clock.now())

    async def delete_entry(self, entry_id: str) -> Entry:
        """Delete an entry and return what it was.

        Raises:
            NotFound: there is none.
        """
        return await self._database.write_durably(_delete, entry_id, self._clock.now())

    async def prune_entries(self, expired_before: datetime) -> list[Entry]:
        """Delete the entries that expired before; returns what they were."""
        return await self._database.write(_prune, expired_before, self._clock.now())

    async def get_entry(self, entry_id: str) -> Entry | None:
        """The entry of this ID."""
        found = await self._database.read(fetch_entries, [entry_id])
        return found[0] if found else None

    async def get_entries(self, ids: Collection[str]) -> list[Entry]:
        """The entries of these IDs, as far as they exist, in no order."""
        return await self._database.read(fetch_entries, ids)

    async def load_all_entries(self) -> list[Entry]:
        """All entries, oldest first, as one state of the database."""
        return await self._database.read(load_entries)

    async def list_entries(
        self, wanted: EntryFilter = _EVERYTHING, page: Page | None = None
    ) -> tuple[list[Entry], str]:
        """The entries that pass the filter, oldest first, and the token of the next page.

        Raises:
            InvalidArgument: the filter or the page is none.
        """
        return await self._database.read(_list, wanted, page)

    async def count_entries(self, wanted: EntryFilter = _EVERYTHING) -> int:
        """How many entries pass the filter.

        Raises:
            InvalidArgument: the filter is none.
        """
        return await self._database.read(_count, wanted)

    async def entry_events(self, after_id: int) -> list[tuple[int, str]]:
        """The events above an ID, in order, each with the ID of the entry it is about."""
        return await self._database.read(events_after, schema.entry_events, after_id)

    async def latest_entry_event_id(self) -> int:
        """The highest event ID; 0 where there is none."""
        return await self._database.read(latest_event_id, schema.entry_events)

    async def prune_entry_events(self, older_than: datetime) -> int:
        """Delete events made before; returns how many."""
        return await self._database.write(prune_events, schema.entry_events, older_than)

    async def _create_alone(self, entry: Entry) -> CreateResult:
        try:
            return (await self._database.write(create_entries, [entry], self._clock.now()))[0]
        except AlreadyExists as error:
            return error


def _delete(connection: Connection, entry_id: str, now: datetime) -> Entry:
    query = select_entries().where(_ENTRIES.entry_id == entry_id).with_for_update()
    rows = connection.execute(query).all()
    if not rows:
        raise not_found()
    built = build_entries(connection, rows)
    delete_entries(connection, rows, now)
    if not built:
        # It was deleted for being unreadable; there is nothing to show of it.
        raise not_found()
    return built[0]


def _prune(connection: Connection, expired_before: datetime, now: datetime) -> list[Entry]:
    seconds = int(expired_before.timestamp())
    query = select_entries().where(_ENTRIES.expiry != 0, _ENTRIES.expiry < seconds)
    rows = connection.execute(query.with_for_update()).all()
    built = build_entries(connection, rows)
    delete_entries(connection, rows, now)
    return built


def _list(
    connection: Connection, wanted: EntryFilter, page: Page | None
) -> tuple[list[Entry], str]:
    query = paged(filtered(select_entries(), wanted), _ENTRIES.id, page)
    rows = connection.execute(query).all()
    return build_entries(connection, rows), next_token(page, [row.id for row in rows])


def _count(connection: Connection, wanted: EntryFilter) -> int:
    query = filtered(select(func.count()).select_from(schema.entries), wanted)
    return int(connection.execute(query).scalar_one())
