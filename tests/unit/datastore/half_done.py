"""A program that begins a transaction and never ends it; the tests kill it."""

from __future__ import annotations

import asyncio
import sys
import time

from sqlalchemy import Connection

from spire_py.config.datastore import DatastoreConfig
from spire_py.runtime.clock import SystemClock
from spire_py.server.datastore import open_datastore
from spire_py.server.datastore.sql.entry_creation import create_entries
from spire_py.server.datastore.sql.entry_rows import select_entries
from spire_py.server.datastore.sql.entry_writes import delete_entries
from tests.unit.datastore.samples import entry


class _Hold:
    """Work for a transaction, which says so and then holds it open."""

    def __call__(self, connection: Connection) -> None:
        now = SystemClock().now()
        delete_entries(connection, connection.execute(select_entries()).all(), now)
        create_entries(connection, [entry(f"/half{n}") for n in range(500)], now)
        print("in transaction", flush=True)
        while True:
            time.sleep(60)


async def main(database_type: str, connection_string: str) -> None:
    config = DatastoreConfig(database_type=database_type, connection_string=connection_string)
    async with open_datastore(config) as datastore:
        await datastore.create_entry(entry("/before"))
        await datastore._database.write(_Hold())


asyncio.run(main(*sys.argv[1:]))
