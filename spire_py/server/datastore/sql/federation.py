"""Federation relationships in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from spire_py.errors import SpireError
from spire_py.model.federation_relationship import FederationRelationship
from spire_py.server.datastore.filters import Page
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.bundles import set_bundle
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import AnyRow, Store, next_token, paged
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.telemetry.logs import get_logger

log = get_logger("sql")

_RELATIONS = schema.federated_trust_domains.c
_WEB = "https_web"
_SPIFFE = "https_spiffe"


class FederationStore(Store):
    """Where bundles of foreign trust domains come from. There are no events of these."""

    async def create_federation_relationship(
        self, relationship: FederationRelationship, bundle: Bundle | None = None
    ) -> FederationRelationship:
        """Store a relationship, and the foreign bundle if one is given, in one transaction.

        Raises:
            AlreadyExists: there is one to this trust domain.
        """
        return await self._database.write(_create, relationship, bundle, self._clock.now())

    async def get_federation_relationship(
        self, trust_domain: TrustDomain
    ) -> FederationRelationship | None:
        """The relationship to a trust domain."""
        return await self._database.read(_get, trust_domain)

    async def list_federation_relationships(
        self, page: Page | None = None
    ) -> tuple[list[FederationRelationship], str]:
        """All relationships, oldest first, and the token of the next page."""
        return await self._database.read(_list, page)

    async def update_federation_relationship(
        self,
        relationship: FederationRelationship,
        bundle: Bundle | None = None,
        mask: frozenset[str] | None = None,
    ) -> FederationRelationship:
        """Change the fields that the mask names (those of the API), all without one.

        Raises:
            NotFound: there is no relationship to this trust domain.
        """
        return await self._database.write(_update, relationship, bundle, mask, self._clock.now())

    async def delete_federation_relationship(self, trust_domain: TrustDomain) -> None:
        """Delete a relationship; the foreign bundle stays.

        Raises:
            NotFound: there is none to this trust domain.
        """
        await self._database.write(_delete, trust_domain)


def _create(
    connection: Connection,
    relationship: FederationRelationship,
    bundle: Bundle | None,
    now: datetime,
) -> FederationRelationship:
    if bundle is not None:
        set_bundle(connection, bundle, now)
    connection.execute(
        insert(schema.federated_trust_domains).values(
            created_at=now,
            updated_at=now,
            trust_domain=relationship.trust_domain.name,
            bundle_endpoint_url=relationship.bundle_endpoint_url,
            implicit=False,
            **_profile(relationship),
        )
    )
    return relationship


def _update(
    connection: Connection,
    relationship: FederationRelationship,
    bundle: Bundle | None,
    mask: frozenset[str] | None,
    now: datetime,
) -> FederationRelationship:
    values: dict[str, Any] = {"updated_at": now}
    if mask is None or "bundle_endpoint_url" in mask:
        values["bundle_endpoint_url"] = relationship.bundle_endpoint_url
    if mask is None or "bundle_endpoint_profile" in mask:
        values |= _profile(relationship)
    is_it = _RELATIONS.trust_domain == relationship.trust_domain.name
    changed = connection.execute(
        update(schema.federated_trust_domains).where(is_it).values(**values)
    )
    if changed.rowcount == 0:
        raise not_found()
    if bundle is not None and (mask is None or "trust_domain_bundle" in mask):
        set_bundle(connection, bundle, now)
    row = connection.execute(select(schema.federated_trust_domains).where(is_it)).one()
    return _relationship(row)


def _get(connection: Connection, trust_domain: TrustDomain) -> FederationRelationship | None:
    query = select(schema.federated_trust_domains)
    row = connection.execute(query.where(_RELATIONS.trust_domain == trust_domain.name)).first()
    return None if row is None else _relationship(row)


def _list(connection: Connection, page: Page | None) -> tuple[list[FederationRelationship], str]:
    query = paged(select(schema.federated_trust_domains), _RELATIONS.id, page)
    rows = connection.execute(query).all()
    found = []
    for row in rows:
        try:
            found.append(_relationship(row))
        except SpireError as error:
            log.warning(
                "stored federation relationship cannot be read",
                trust_domain=row.trust_domain,
                error=str(error),
            )
    return found, next_token(page, [row.id for row in rows])


def _delete(connection: Connection, trust_domain: TrustDomain) -> None:
    deleted = connection.execute(
        delete(schema.federated_trust_domains).where(_RELATIONS.trust_domain == trust_domain.name)
    )
    if deleted.rowcount == 0:
        raise not_found()


def _profile(relationship: FederationRelationship) -> dict[str, str]:
    endpoint_id = relationship.endpoint_id
    return {
        "bundle_endpoint_profile": _WEB if endpoint_id is None else _SPIFFE,
        "endpoint_spiffe_id": "" if endpoint_id is None else str(endpoint_id),
    }


def _relationship(row: AnyRow) -> FederationRelationship:
    is_spiffe = row.bundle_endpoint_profile == _SPIFFE
    return FederationRelationship(
        trust_domain=TrustDomain.parse(row.trust_domain),
        bundle_endpoint_url=row.bundle_endpoint_url or "",
        endpoint_id=SpiffeID.parse(row.endpoint_spiffe_id or "") if is_spiffe else None,
    )
