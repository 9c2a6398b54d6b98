"""The datastore: everything that outlives a server, behind one object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from spire_py.config.datastore import DatastoreConfig
from spire_py.errors import InvalidArgument
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.server.datastore.sql.agents import AgentStore
from spire_py.server.datastore.sql.bundles import BundleStore
from spire_py.server.datastore.sql.ca_journals import CAJournalStore
from spire_py.server.datastore.sql.database import Database, Engines
from spire_py.server.datastore.sql.entries import EntryStore
from spire_py.server.datastore.sql.federation import FederationStore
from spire_py.server.datastore.sql.join_tokens import JoinTokenStore
from spire_py.server.datastore.sql.migration import migrate
from spire_py.server.datastore.sql.postgres import PostgresEngines
from spire_py.server.datastore.sql.sqlite import SQLiteEngines
from spire_py.telemetry.logs import get_logger

log = get_logger("sql")

_BUSY_TIMEOUT = timedelta(seconds=5)


class Datastore(
    EntryStore, AgentStore, BundleStore, JoinTokenStore, CAJournalStore, FederationStore
):
    """All nouns that are stored, each with the methods of its own store.

    Every method is one transaction. All may raise `Unavailable`, when the database is away or
    another writer holds it for longer than the busy timeout; trying again later may help.
    """


@asynccontextmanager
async def open_datastore(
    config: DatastoreConfig,
    *,
    clock: Clock | None = None,
    busy_timeout: timedelta = _BUSY_TIMEOUT,
) -> AsyncIterator[Datastore]:
    """Connect, make or migrate the schema, and close everything in the end.

    Args:
        config: the configuration of the plugin DataStore "sql".
        clock: gives the times that are written.
        busy_timeout: how long a statement waits for another writer's lock.

    Raises:
        InvalidArgument: the configuration is not acceptable.
        FailedPrecondition: the schema is too old or too new for this release.
        Unavailable: there is no connection.
    """
    clock = clock or SystemClock()
    log.info("Opening SQL database", db_type=config.database_type)
    database = Database(_engines(config, busy_timeout))
    try:
        await database.write(migrate, clock.now(), disabled=config.disable_migration)
        log.info("Connected to SQL database", type=config.database_type)
        yield Datastore(database, clock)
    finally:
        await database.aclose()


def _engines(config: DatastoreConfig, busy_timeout: timedelta) -> Engines:
    match config.database_type:
        case "sqlite3":
            return SQLiteEngines(config.connection_string, busy_timeout=busy_timeout)
        case "postgres":
            return PostgresEngines(
                config.connection_string,
                busy_timeout=busy_timeout,
                max_open_conns=config.max_open_conns,
                conn_max_lifetime=config.conn_max_lifetime,
            )
        case other:
            raise InvalidArgument(f"datastore-sql: unsupported database_type: {other}")
