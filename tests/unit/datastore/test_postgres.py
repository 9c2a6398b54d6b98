"""What only PostgreSQL does. Collected where PostgreSQL is installed, as it is in CI."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import psycopg
import pytest

from spire_py.config.datastore import DatastoreConfig
from spire_py.errors import Unavailable
from spire_py.server.datastore import open_datastore
from spire_py.server.datastore.sql.postgres import connection_options
from tests.fakes.postgres import Postgres, postgres_bin, running_postgres
from tests.unit.datastore.samples import TD, agent, bundle, entry, jwt_authority


def config_of(server: Postgres) -> DatastoreConfig:
    return DatastoreConfig(database_type="postgres", connection_string=server.database())


async def test_servers_that_start_together_make_one_schema(postgres: Postgres) -> None:
    config = config_of(postgres)

    async def start() -> int:
        async with open_datastore(config) as datastore:
            return await datastore.count_entries()

    assert await asyncio.gather(*(start() for _ in range(4))) == [0] * 4


async def test_servers_that_create_one_entry_together_create_it_once(postgres: Postgres) -> None:
    config = config_of(postgres)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(open_datastore(config)) for _ in range(3)]
        results = await asyncio.gather(
            *(server.create_entry(entry()) for server in servers for _ in range(4))
        )
        assert sum(not existed for _, existed in results) == 1
        assert len({stored.id for stored, _ in results}) == 1


async def test_servers_that_append_together_lose_nothing(postgres: Postgres) -> None:
    config = config_of(postgres)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(open_datastore(config)) for _ in range(3)]
        await servers[0].create_bundle(bundle())
        await asyncio.gather(
            *(
                server.append_bundle(bundle(jwt_authorities=(jwt_authority(f"{number}-{n}"),)))
                for number, server in enumerate(servers)
                for n in range(5)
            )
        )
        stored = await servers[0].get_bundle(TD)
        assert stored is not None
        assert len(stored.jwt_authorities) == 16
        assert stored.sequence_number == 15


async def test_connections_that_were_cut_are_made_anew(postgres: Postgres) -> None:
    config = config_of(postgres)
    async with open_datastore(config) as datastore:
        await datastore.create_entry(entry())
        await datastore.load_all_entries()
        with psycopg.connect(config.connection_string, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        assert await datastore.count_entries() == 1
        await datastore.create_agent(agent())


async def test_database_may_go_away_and_come_back() -> None:
    found = postgres_bin()
    assert found is not None
    with running_postgres(found) as server:
        async with open_datastore(config_of(server)) as datastore:
            await datastore.create_entry(entry())
            server.stop()
            with pytest.raises(Unavailable):
                await datastore.load_all_entries()
            with pytest.raises(Unavailable):
                await datastore.create_entry(entry("/more"))
            server.start()
            assert await datastore.count_entries() == 1
            await datastore.create_entry(entry("/more"))


async def test_lock_of_another_client_is_waited_for_and_not_for_ever(postgres: Postgres) -> None:
    config = config_of(postgres)
    short = timedelta(milliseconds=100)
    async with open_datastore(config, busy_timeout=short) as datastore:
        await datastore.create_bundle(bundle())
        with psycopg.connect(config.connection_string) as connection:
            connection.execute("SELECT * FROM bundles FOR UPDATE")
            with pytest.raises(Unavailable, match="lock timeout"):
                await datastore.append_bundle(bundle(jwt_authorities=(jwt_authority("new"),)))
        grown = await datastore.append_bundle(bundle(jwt_authorities=(jwt_authority("new"),)))
        assert grown.sequence_number == 1


@pytest.mark.parametrize(
    ("text", "sslmode"),
    [
        pytest.param("host=db user=u", "require", id="nothing said"),
        pytest.param("postgres://u:p@db:5432/spire", "require", id="URL"),
        pytest.param("postgresql://u@db/spire?sslmode=disable", "disable", id="said in the URL"),
        pytest.param("host=db sslmode=verify-full", "verify-full", id="said"),
        pytest.param("host=/run/postgresql", None, id="socket"),
        pytest.param("host=/run/postgresql,db", "require", id="socket and host"),
        pytest.param("user=u", "require", id="no host"),
    ],
)
def test_tls_is_insisted_on_unless_the_text_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, text: str, sslmode: str | None
) -> None:
    for name in ("PGHOST", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    assert connection_options(text).get("sslmode") == sslmode
    monkeypatch.setenv("PGSSLMODE", "prefer")
    assert connection_options("host=db").get("sslmode") is None
