from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from spire_py.config.datastore import DatastoreConfig
from spire_py.errors import Internal, InvalidArgument, Unavailable
from spire_py.model.agent import Agent
from spire_py.server.datastore import AgentFilter, open_datastore
from spire_py.server.datastore.sql.database import Database
from spire_py.server.datastore.sql.sqlite import SQLiteEngines
from spire_py.server.datastore.sql.types import text_to_time, time_to_text
from tests.fakes.clock import START, FakeClock
from tests.unit.datastore.conftest import Opener
from tests.unit.datastore.samples import LATER, agent, entry

FIRST, LAST = datetime.fromisoformat("1970-01-02"), datetime.fromisoformat("9999-12-30")


def rows(opener: Opener, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(opener.config.connection_string)) as connection:
        found = connection.execute(query).fetchall()
        connection.commit()
        return found


async def test_file_is_for_the_owner_and_the_group_only(sqlite_opener: Opener) -> None:
    umask = os.umask(0)
    try:
        async with sqlite_opener() as datastore:
            await datastore.create_entry(entry())
            folder = Path(sqlite_opener.config.connection_string).parent
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {
        "datastore.sqlite3": 0o640,
        "datastore.sqlite3-wal": 0o640,
        "datastore.sqlite3-shm": 0o640,
    }


async def test_of_attestations_of_one_agent_in_one_transaction_the_last_one_stands(
    sqlite_opener: Opener,
) -> None:
    shown = [agent("one", f"a:{n}", serial_number=str(n)) for n in range(1, 6)]
    async with sqlite_opener() as datastore:
        assert await asyncio.gather(*map(datastore.store_attested_agent, shown)) == shown
        assert await datastore.load_all_agents() == shown[-1:]
        assert len(await datastore.agent_events(0)) == len(shown)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("{}", id="path"),
        pytest.param("file:{}", id="URI"),
        pytest.param("file://{}", id="URI with two slashes more"),
        pytest.param("file:{}?_journal_mode=WAL&cache=private", id="URI with options"),
    ],
)
async def test_file_is_named_as_spire_takes_it(tmp_path: Path, form: str) -> None:
    name = form.format(tmp_path / "my data.db")
    config = DatastoreConfig(
        database_type="sqlite3",
        connection_string=name.replace(" ", "%20") if name.startswith("file:") else name,
    )
    async with open_datastore(config) as datastore:
        await datastore.create_entry(entry())
    assert [path.name for path in tmp_path.iterdir()] == ["my data.db"]


async def test_other_schemes_are_refused() -> None:
    config = DatastoreConfig(database_type="sqlite3", connection_string="http://x/y")
    with pytest.raises(InvalidArgument, match='datastore-sql: unsupported scheme "http"'):
        async with open_datastore(config):
            pass


async def test_database_may_be_in_memory() -> None:
    config = DatastoreConfig(database_type="sqlite3", connection_string=":memory:")
    async with open_datastore(config) as datastore:
        await datastore.create_entry(entry())
        assert await datastore.count_entries() == 1


async def test_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    name = str(tmp_path / "missing" / "x.db")
    with pytest.raises(Unavailable, match="unable to open database file"):
        async with open_datastore(DatastoreConfig(database_type="sqlite3", connection_string=name)):
            pass


async def test_times_are_written_as_spire_does(sqlite_opener: Opener, clock: FakeClock) -> None:
    clock.jump(timedelta(microseconds=620_580))
    async with sqlite_opener() as datastore:
        await datastore.create_agent(agent(expires_at=LATER, new_expires_at=None))
        clock.jump(timedelta(microseconds=-620_580))
        await datastore.update_agent(agent().id, serial_number="2")
    assert rows(
        sqlite_opener,
        "SELECT created_at, updated_at, expires_at, new_expires_at FROM attested_node_entries",
    ) == [
        (
            "2026-01-01 00:00:00.62058+00:00",
            "2026-01-01 00:00:00+00:00",
            "2026-06-01 12:00:00+00:00",
            None,
        )
    ]


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()))
def test_times_come_back_as_they_were(time: datetime) -> None:
    assert text_to_time(time_to_text(time)) == time.astimezone(UTC)


@given(
    st.lists(
        st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
        min_size=2,
    )
)
def test_times_compare_as_their_texts_do(times: list[datetime]) -> None:
    assert sorted(times) == sorted(times, key=time_to_text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22 17:03:52.620583753+00:00", datetime(2026, 11, 22, 17, 3, 52, 620583, UTC)),
        ("2026-11-22 17:03:52+00:00", datetime(2026, 11, 22, 17, 3, 52, 0, UTC)),
        (
            "2026-11-22 19:03:52.5+02:00",
            datetime(2026, 11, 22, 19, 3, 52, 500000, timezone(timedelta(hours=2))),
        ),
        ("2026-11-22T17:03:52Z", datetime(2026, 11, 22, 17, 3, 52, 0, UTC)),
        ("2026-11-22 17:03:52", datetime(2026, 11, 22, 17, 3, 52, 0, UTC)),
    ],
)
def test_times_are_read_as_spire_may_have_written_them(text: str, time: datetime) -> None:
    assert text_to_time(text) == time


async def test_agents_that_spire_wrote_are_read(sqlite_opener: Opener) -> None:
    async with sqlite_opener() as datastore:
        rows(
            sqlite_opener,
            "INSERT INTO attested_node_entries (created_at, updated_at, spiffe_id, data_type, "
            "serial_number, expires_at, new_serial_number, new_expires_at, can_reattest) VALUES "
            "('2026-11-22 17:03:52.62+00:00', NULL, 'spiffe://example.org/spire/agent/x', 'x', "
            "'1', '2026-01-01 01:00:00+01:00', '', NULL, 0)",
        )
        assert await datastore.list_agents(AgentFilter()) == (
            [Agent(agent("x").id.trust_domain.member("/spire/agent/x"), "x", "1", START)],
            "",
        )


async def test_what_cannot_be_read_is_left_out(sqlite_opener: Opener) -> None:
    async with AsyncExitStack() as stack:
        datastore = await stack.enter_async_context(sqlite_opener())
        good, _ = await datastore.create_entry(entry("/good"))
        for name in ("id", "selector", "null", "none", "attributes", "parent"):
            hint = "bad" if name == "attributes" else ""
            await datastore.create_entry(entry(f"/{name}", "a:1", "b:2", id=name, hint=hint))
        where = "WHERE registered_entry_id = (SELECT id FROM registered_entries WHERE entry_id ="
        for statement in (
            "UPDATE registered_entries SET spiffe_id = 'x' WHERE entry_id = 'id'",
            "UPDATE registered_entries SET parent_id = NULL WHERE entry_id = 'parent'",
            "UPDATE registered_entries SET additional_attributes = X'FF' WHERE hint = 'bad'",
            f"UPDATE selectors SET value = '' {where} 'selector') AND type = 'a'",
            f"UPDATE selectors SET type = NULL {where} 'null') AND type = 'a'",
            f"DELETE FROM selectors {where} 'none')",
        ):
            rows(sqlite_opener, statement)
        # An entry that lost a selector would match more workloads than it was made for.
        assert await datastore.load_all_entries() == [good]
        assert await datastore.get_entry("none") is None


async def test_rows_without_an_entry_change_nothing(sqlite_opener: Opener) -> None:
    async with sqlite_opener() as datastore:
        stored, _ = await datastore.create_entry(entry())
        rows(
            sqlite_opener,
            "INSERT INTO selectors (registered_entry_id, type, value) VALUES (99, 'a', 'b')",
        )
        rows(sqlite_opener, "INSERT INTO federated_registration_entries VALUES (98, 99)")
        assert await datastore.load_all_entries() == [stored]


@pytest.mark.parametrize(("seconds", "year"), [(-5, 1970), (99_999_999_999, 5138), (2**62, 9999)])
async def test_expiry_that_no_time_can_hold_is_the_nearest_one(
    sqlite_opener: Opener, seconds: int, year: int
) -> None:
    async with sqlite_opener() as datastore:
        stored, _ = await datastore.create_entry(entry())
        rows(sqlite_opener, f"UPDATE registered_entries SET expiry = {seconds}")
        found = await datastore.get_entry(stored.id)
        assert found is not None
        assert found.expires_at is not None
        assert found.expires_at.year == year


async def test_time_that_is_none_is_long_ago(sqlite_opener: Opener) -> None:
    async with sqlite_opener() as datastore:
        await datastore.create_agent(agent("one"))
        rows(sqlite_opener, "UPDATE attested_node_entries SET expires_at = 'soon'")
        found = await datastore.get_agent(agent("one").id)
        assert found is not None
        assert found.expires_at.year == 1970


def fail_to_commit(connection: Connection) -> None:
    """A COMMIT that SQLite refuses leaves the transaction open."""
    connection.execute(text("CREATE TABLE above (id INTEGER PRIMARY KEY)"))
    connection.execute(
        text("CREATE TABLE below (id REFERENCES above (id) DEFERRABLE INITIALLY DEFERRED)")
    )
    connection.execute(text("INSERT INTO below VALUES (1)"))


def lose_the_connection(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.close()


@pytest.mark.parametrize("fault", [fail_to_commit, lose_the_connection])
async def test_after_a_fault_of_the_one_connection_that_writes_others_write(
    tmp_path: Path, fault: Callable[[Connection], None]
) -> None:
    engines = SQLiteEngines(str(tmp_path / "file"), busy_timeout=timedelta(seconds=1))
    database = Database(engines)
    try:
        with pytest.raises(Internal):
            await database.write(fault)
        await database.write(lambda connection: connection.execute(text("CREATE TABLE t (a)")))
        tables = text("SELECT name FROM sqlite_schema")
        assert await database.read(lambda connection: list(connection.scalars(tables))) == ["t"]
    finally:
        await database.aclose()
