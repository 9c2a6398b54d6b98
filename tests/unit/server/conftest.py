"""A time that tests move, and a real datastore on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spire_py.config.datastore import DatastoreConfig
from spire_py.server.datastore import Datastore, open_datastore
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def datastore(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Datastore]:
    config = DatastoreConfig(
        database_type="sqlite3", connection_string=str(tmp_path / "datastore.sqlite3")
    )
    async with open_datastore(config, clock=clock) as opened:
        yield opened
