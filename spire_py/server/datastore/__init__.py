"""The datastore of the server: `open_datastore`, and what its lists may be narrowed by."""

from spire_py.server.datastore.filters import (
    AgentFilter,
    DeleteMode,
    EntryFilter,
    FederatesWithFilter,
    Match,
    Page,
    SelectorFilter,
)
from spire_py.server.datastore.sql.entry_creation import CreateResult
from spire_py.server.datastore.store import Datastore, open_datastore

__all__ = [
    "AgentFilter",
    "CreateResult",
    "Datastore",
    "DeleteMode",
    "EntryFilter",
    "FederatesWithFilter",
    "Match",
    "Page",
    "SelectorFilter",
    "open_datastore",
]
