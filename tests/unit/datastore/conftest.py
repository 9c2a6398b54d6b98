"""Datastores to test with: the same tests run on SQLite and, where installed, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from spire_py.config.datastore import DatastoreConfig
from spire_py.server.datastore import Datastore, open_datastore
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Postgres, postgres_bin, running_postgres

DATABASES = ["sqlite3", "postgres"] if postgres_bin() else ["sqlite3"]
collect_ignore = [] if postgres_bin() else ["test_postgres.py"]


class Opener(Protocol):
    """Opens one and the same database, as often as called."""

    config: DatastoreConfig

    def __call__(
        self, *, busy_timeout: timedelta = timedelta(seconds=5)
    ) -> AbstractAsyncContextManager[Datastore]: ...


class _Opener:
    def __init__(self, config: DatastoreConfig, clock: FakeClock) -> None:
        self.config = config
        self._clock = clock

    def __call__(
        self, *, busy_timeout: timedelta = timedelta(seconds=5)
    ) -> AbstractAsyncContextManager[Datastore]:
        return open_datastore(self.config, clock=self._clock, busy_timeout=busy_timeout)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    found = postgres_bin()
    assert found is not None
    with running_postgres(found) as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sqlite_opener(tmp_path: Path, clock: FakeClock) -> Opener:
    name = str(tmp_path / "datastore.sqlite3")
    return _Opener(DatastoreConfig(database_type="sqlite3", connection_string=name), clock)


@pytest.fixture(params=DATABASES)
def opener(request: pytest.FixtureRequest, clock: FakeClock) -> Opener:
    if request.param == "sqlite3":
        found: Opener = request.getfixturevalue("sqlite_opener")
        return found
    server: Postgres = request.getfixturevalue("postgres")
    config = DatastoreConfig(database_type="postgres", connection_string=server.database())
    return _Opener(config, clock)


@pytest.fixture
async def datastore(opener: Opener) -> AsyncIterator[Datastore]:
    async with opener() as opened:
        yield opened
