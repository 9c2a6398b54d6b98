from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from spire_py.errors import Unavailable
from tests.unit.datastore.conftest import Opener
from tests.unit.datastore.samples import entry

ROOT = Path(__file__).parents[3]
SHORT = timedelta(milliseconds=100)


@asynccontextmanager
async def writer_in_transaction(opener: Opener) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that holds a transaction open, which deletes and creates entries."""
    config = opener.config
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.unit.datastore.half_done"),
        *(config.database_type, config.connection_string),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"in transaction" not in (line := await process.stdout.readline()):
                assert line
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_transaction_of_a_killed_writer_never_happened(opener: Opener) -> None:
    async with opener():
        pass
    async with writer_in_transaction(opener) as process:
        process.kill()
        await process.wait()
    async with opener() as datastore:
        assert [each.spiffe_id.path for each in await datastore.load_all_entries()] == ["/before"]
        assert len(await datastore.entry_events(0)) == 1
        await datastore.create_entry(entry("/after"))
        assert await datastore.count_entries() == 2
    if opener.config.database_type == "sqlite3":
        with closing(sqlite3.connect(opener.config.connection_string)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_reads_go_on_beside_a_writer_and_see_nothing_half_done(opener: Opener) -> None:
    async with opener(busy_timeout=SHORT) as datastore, writer_in_transaction(opener):
        assert [each.spiffe_id.path for each in await datastore.load_all_entries()] == ["/before"]
        assert await datastore.count_entries() == 1
        assert len(await datastore.entry_events(0)) == 1


async def test_write_beside_a_stuck_writer_ends_in_time(opener: Opener) -> None:
    async with opener(busy_timeout=SHORT) as datastore:
        async with writer_in_transaction(opener):
            with pytest.raises(Unavailable, match="lock"):
                await datastore.create_entry(entry("/more"))
        stored, _ = await datastore.create_entry(entry("/more"))
        assert await datastore.get_entry(stored.id) == stored


async def test_caller_that_gives_up_leaves_a_whole_transaction(opener: Opener) -> None:
    async with opener() as datastore:
        task = asyncio.create_task(datastore.create_entry(entry("/one")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await datastore.create_entry(entry("/two"))
        paths = {each.spiffe_id.path for each in await datastore.load_all_entries()}
    assert paths in ({"/two"}, {"/one", "/two"})
