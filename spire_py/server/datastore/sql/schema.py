"""SPIRE's tables, schema version 25. Names of tables, columns and indexes are SPIRE's.

The text that creates them is made in `ddl`, so that a database of ours is one that SPIRE made.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from spire_py.server.datastore.sql.types import Timestamp

VERSION = 25
"""The schema version that this module describes."""

OLDEST_VERSION = 23
"""The oldest version that can be migrated from."""

metadata = MetaData()


def _table(name: str, *columns: Column[Any], indexes: tuple[Index, ...] = ()) -> Table:
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("created_at", Timestamp),
        Column("updated_at", Timestamp),
        *columns,
        *indexes,
    )


def _column(name: str, kind: type[TypeEngine[Any]], *, nullable: bool = True) -> Column[Any]:
    return Column(name, kind, nullable=nullable)


bundles = _table(
    "bundles",
    _column("trust_domain", Text, nullable=False),
    _column("data", LargeBinary),
    indexes=(Index("uix_bundles_trust_domain", "trust_domain", unique=True),),
)

agents = _table(
    "attested_node_entries",
    _column("spiffe_id", Text),
    _column("data_type", Text),
    _column("serial_number", Text),
    _column("expires_at", Timestamp),
    _column("new_serial_number", Text),
    _column("new_expires_at", Timestamp),
    _column("can_reattest", Boolean),
    _column("agent_version", Text),
    indexes=(
        Index("idx_attested_node_entries_expires_at", "expires_at"),
        Index("uix_attested_node_entries_spiffe_id", "spiffe_id", unique=True),
    ),
)

agent_events = _table("attested_node_entries_events", _column("spiffe_id", Text))

agent_selectors = _table(
    "node_resolver_map_entries",
    _column("spiffe_id", Text),
    _column("type", Text),
    _column("value", Text),
    indexes=(Index("idx_node_resolver_map", "spiffe_id", "type", "value", unique=True),),
)

entries = _table(
    "registered_entries",
    _column("entry_id", Text),
    _column("spiffe_id", Text),
    _column("parent_id", Text),
    _column("ttl", Integer),
    _column("admin", Boolean),
    _column("downstream", Boolean),
    _column("expiry", BigInteger),
    _column("revision_number", BigInteger),
    _column("store_svid", Boolean),
    _column("hint", Text),
    _column("jwt_svid_ttl", Integer),
    _column("additional_attributes", LargeBinary),
    indexes=(
        Index("idx_registered_entries_spiffe_id", "spiffe_id"),
        Index("idx_registered_entries_parent_id", "parent_id"),
        Index("idx_registered_entries_expiry", "expiry"),
        Index("idx_registered_entries_hint", "hint"),
        Index("uix_registered_entries_entry_id", "entry_id", unique=True),
    ),
)

entry_events = _table("registered_entries_events", _column("entry_id", Text))

join_tokens = _table(
    "join_tokens",
    _column("token", Text),
    _column("expiry", BigInteger),
    indexes=(Index("uix_join_tokens_token", "token", unique=True),),
)

selectors = _table(
    "selectors",
    _column("registered_entry_id", Integer),
    _column("type", Text),
    _column("value", Text),
    indexes=(
        Index("idx_selectors_type_value", "type", "value"),
        Index("idx_selector_entry", "registered_entry_id", "type", "value", unique=True),
    ),
)

migrations = _table(
    "migrations",
    _column("version", Integer),
    _column("code_version", Text),
)

dns_names = _table(
    "dns_names",
    _column("registered_entry_id", Integer),
    _column("value", Text),
    indexes=(Index("idx_dns_entry", "registered_entry_id", "value", unique=True),),
)

federated_trust_domains = _table(
    "federated_trust_domains",
    _column("trust_domain", Text, nullable=False),
    _column("bundle_endpoint_url", Text),
    _column("bundle_endpoint_profile", Text),
    _column("endpoint_spiffe_id", Text),
    _column("implicit", Boolean),
    indexes=(Index("uix_federated_trust_domains_trust_domain", "trust_domain", unique=True),),
)

ca_journals = _table(
    "ca_journals",
    _column("data", LargeBinary),
    _column("active_x509_authority_id", Text),
    _column("active_jwt_authority_id", Text),
    indexes=(
        Index("idx_ca_journals_active_x509_authority_id", "active_x509_authority_id"),
        Index("idx_ca_journals_active_jwt_authority_id", "active_jwt_authority_id"),
    ),
)

entry_bundles = Table(
    "federated_registration_entries",
    metadata,
    Column("bundle_id", Integer, primary_key=True, autoincrement=False),
    Column("registered_entry_id", Integer, primary_key=True, autoincrement=False),
    Index("idx_federated_registration_entries_registered_entry_id", "registered_entry_id"),
)
"""Which entries federate with which bundles; the one table without an ID and times."""
