"""Trust bundles in the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from spire_py.errors import FailedPrecondition
from spire_py.server.datastore.bundle_changes import merged, pruned
from spire_py.server.datastore.filters import DeleteMode, Page
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.entry_writes import delete_entries
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import AnyRow, Store, add_events, next_token, paged
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.stored import bundle_from_stored, bundle_to_stored

_BUNDLES = schema.bundles.c

_MASK = {
    "x509_authorities",
    "jwt_authorities",
    "wit_authorities",
    "refresh_hint",
    "sequence_number",
}


class BundleStore(Store):
    """Bundles of our own trust domain and of those we federate with. They have no events."""

    async def get_bundle(self, trust_domain: TrustDomain) -> Bundle | None:
        """The bundle of a trust domain."""
        return await self._database.read(get_bundle, trust_domain)

    async def list_bundles(self, page: Page | None = None) -> tuple[list[Bundle], str]:
        """All bundles, oldest first, our own too, and the token of the next page."""
        return await self._database.read(_list, page)

    async def count_bundles(self) -> int:
        """How many bundles there are, our own counted."""
        return await self._database.read(_count)

    async def create_bundle(self, bundle: Bundle) -> Bundle:
        """Store the bundle of a trust domain that has none.

        Raises:
            AlreadyExists: it has one.
        """
        return await self._database.write(_create, bundle, self._clock.now())

    async def set_bundle(self, bundle: Bundle) -> Bundle:
        """Store a bundle in place of the former one, or as the first one."""
        return await self._database.write(set_bundle, bundle, self._clock.now())

    async def update_bundle(self, bundle: Bundle, mask: frozenset[str] | None = None) -> Bundle:
        """Change the fields that the mask names (those of the API), all without one.

        Raises:
            NotFound: the trust domain has no bundle.
        """
        return await self._database.write(_update, bundle, mask, self._clock.now())

    async def append_bundle(self, bundle: Bundle) -> Bundle:
        """Add the authorities that are new, and count the sequence number up if there are any.

        Returns:
            The whole bundle as it now is; the given one where the trust domain had none.
        """
        return await self._database.write(_append, bundle, self._clock.now())

    async def change_bundle(
        self, trust_domain: TrustDomain, change: Callable[[Bundle], Bundle]
    ) -> Bundle:
        """Read, change and write a bundle with nobody in between; the sequence number goes up.

        Args:
            trust_domain: whose bundle it is.
            change: runs in another thread, and may be told to raise what the caller shall see.

        Raises:
            NotFound: the trust domain has no bundle.
        """
        return await self._database.write_durably(_change, trust_domain, change, self._clock.now())

    async def prune_bundle(self, trust_domain: TrustDomain, expires_before: datetime) -> bool:
        """Remove authorities that expired before; returns whether there were any.

        Raises:
            FailedPrecondition: none of a kind would be left.
        """
        return await self._database.write(_prune, trust_domain, expires_before, self._clock.now())

    async def delete_bundle(
        self, trust_domain: TrustDomain, mode: DeleteMode = DeleteMode.RESTRICT
    ) -> None:
        """Delete a bundle, and deal with the entries that federate with it as `mode` says.

        Raises:
            NotFound: the trust domain has none.
            FailedPrecondition: there are such entries, and the mode is `RESTRICT`.
        """
        await self._database.write_durably(_delete, trust_domain, mode, self._clock.now())


def get_bundle(connection: Connection, trust_domain: TrustDomain) -> Bundle | None:
    """The bundle of a trust domain, within a transaction."""
    row = _row(connection, trust_domain)
    return None if row is None else bundle_from_stored(row.data)


def set_bundle(connection: Connection, bundle: Bundle, now: datetime) -> Bundle:
    """Store a bundle in place of the former one, within a transaction."""
    row = _locked(connection, bundle.trust_domain)
    if row is None:
        return _create(connection, bundle, now)
    return _write(connection, row, bundle, now)


def _create(connection: Connection, bundle: Bundle, now: datetime) -> Bundle:
    connection.execute(
        insert(schema.bundles).values(
            created_at=now,
            updated_at=now,
            trust_domain=str(bundle.trust_domain.id),
            data=bundle_to_stored(bundle),
        )
    )
    return bundle


def _update(
    connection: Connection, bundle: Bundle, mask: frozenset[str] | None, now: datetime
) -> Bundle:
    row = _locked(connection, bundle.trust_domain)
    if row is None:
        raise not_found()
    names = _MASK if mask is None else _MASK & mask
    changes = {name: getattr(bundle, name) for name in names}
    return _write(connection, row, bundle_from_stored(row.data).with_changes(**changes), now)


def _append(connection: Connection, bundle: Bundle, now: datetime) -> Bundle:
    row = _locked(connection, bundle.trust_domain)
    if row is None:
        return _create(connection, bundle, now)
    stored = bundle_from_stored(row.data)
    grown = merged(stored, bundle)
    return stored if grown == stored else _write(connection, row, _next(grown), now)


def _change(
    connection: Connection,
    trust_domain: TrustDomain,
    change: Callable[[Bundle], Bundle],
    now: datetime,
) -> Bundle:
    row = _locked(connection, trust_domain)
    if row is None:
        raise not_found()
    stored = bundle_from_stored(row.data)
    changed = change(stored)
    return stored if changed == stored else _write(connection, row, _next(changed), now)


def _prune(
    connection: Connection, trust_domain: TrustDomain, expires_before: datetime, now: datetime
) -> bool:
    row = _locked(connection, trust_domain)
    if row is None:
        return False
    stored = bundle_from_stored(row.data)
    left = pruned(stored, expires_before)
    if left == stored:
        return False
    _write(connection, row, _next(left), now)
    return True


def _delete(
    connection: Connection, trust_domain: TrustDomain, mode: DeleteMode, now: datetime
) -> None:
    row = _locked(connection, trust_domain)
    if row is None:
        raise not_found()
    links, entries = schema.entry_bundles.c, schema.entries.c
    federated = connection.execute(
        select(entries.id, entries.entry_id)
        .join(schema.entry_bundles, links.registered_entry_id == entries.id)
        .where(links.bundle_id == row.id)
    ).all()
    if federated and mode is DeleteMode.RESTRICT:
        raise FailedPrecondition(
            "datastore-sql: cannot delete bundle; federated with "
            f"{len(federated)} registration entries"
        )
    if mode is DeleteMode.DELETE:
        delete_entries(connection, federated, now)
    else:
        # SPIRE makes no events here and has to find out by polling; ours need not.
        add_events(connection, schema.entry_events, (each.entry_id for each in federated), now)
    connection.execute(delete(schema.entry_bundles).where(links.bundle_id == row.id))
    connection.execute(delete(schema.bundles).where(_BUNDLES.id == row.id))


def _list(connection: Connection, page: Page | None) -> tuple[list[Bundle], str]:
    rows = connection.execute(paged(select(schema.bundles), _BUNDLES.id, page)).all()
    bundles = [bundle_from_stored(row.data) for row in rows]
    return bundles, next_token(page, [row.id for row in rows])


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(schema.bundles)).scalar_one()


def _row(connection: Connection, trust_domain: TrustDomain) -> AnyRow | None:
    query = select(schema.bundles).where(_BUNDLES.trust_domain == str(trust_domain.id))
    return connection.execute(query).first()


def _locked(connection: Connection, trust_domain: TrustDomain) -> AnyRow | None:
    query = select(schema.bundles).where(_BUNDLES.trust_domain == str(trust_domain.id))
    return connection.execute(query.with_for_update()).first()


def _write(connection: Connection, row: AnyRow, bundle: Bundle, now: datetime) -> Bundle:
    data = bundle_to_stored(bundle, row.data)
    connection.execute(
        update(schema.bundles).where(_BUNDLES.id == row.id).values(updated_at=now, data=data)
    )
    return bundle


def _next(bundle: Bundle) -> Bundle:
    return bundle.with_changes(sequence_number=bundle.sequence_number + 1)
