from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from spire_py.config.datastore import DatastoreConfig
from spire_py.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    SpireError,
    Unavailable,
)
from spire_py.server.datastore import open_datastore
from spire_py.server.datastore.sql.errors import translated


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE t (a integer UNIQUE NOT NULL, b blob)")
        yield opened


@pytest.mark.parametrize(
    ("statements", "error", "message"),
    [
        pytest.param(
            ["INSERT INTO t VALUES (1, '')"] * 2,
            AlreadyExists,
            "datastore-sql: UNIQUE constraint failed: t.a",
            id="unique",
        ),
        pytest.param(
            ["INSERT INTO t VALUES (NULL, '')"],
            Internal,
            "datastore-sql: NOT NULL constraint failed: t.a",
            id="another constraint",
        ),
        pytest.param(
            ["PRAGMA max_page_count = 2", "INSERT INTO t VALUES (1, zeroblob(100000))"],
            ResourceExhausted,
            "datastore-sql: database or disk is full: free some space for the database file",
            id="full",
        ),
        pytest.param(
            ["PRAGMA query_only = ON", "INSERT INTO t VALUES (1, '')"],
            Unavailable,
            "datastore-sql: attempt to write a readonly database",
            id="read-only",
        ),
        pytest.param(["SELECT * FROM u"], Internal, "datastore-sql: no such table: u", id="ours"),
    ],
)
def test_errors_of_sqlite_are_translated(
    connection: sqlite3.Connection,
    statements: list[str],
    error: type[SpireError],
    message: str,
) -> None:
    *before, last = statements
    for statement in before:
        connection.execute(statement)
    with pytest.raises(error) as refusal, translated():
        connection.execute(last)
    assert refusal.value.message == message


def test_own_errors_pass_as_they_are() -> None:
    with pytest.raises(InvalidArgument, match="mine"), translated():
        raise InvalidArgument("mine")


@pytest.mark.parametrize(
    ("database_type", "message"),
    [
        pytest.param("mysql", "datastore-sql: unsupported database_type: mysql", id="not yet"),
        pytest.param("", "datastore-sql: unsupported database_type: ", id="none"),
    ],
)
async def test_other_databases_are_refused(database_type: str, message: str) -> None:
    config = DatastoreConfig(database_type=database_type, connection_string="x")
    with pytest.raises(InvalidArgument) as refusal:
        async with open_datastore(config):
            pass
    assert refusal.value.message == message


@pytest.mark.parametrize(
    ("connection_string", "error", "message"),
    [
        pytest.param(
            "host=/nonexistent user=u password=hunter2",
            Unavailable,
            "datastore-sql: database is not reachable",
            id="no server",
        ),
        pytest.param(
            "host='hunter2",
            InvalidArgument,
            "datastore-sql: connection_string cannot be parsed",
            id="no connection string",
        ),
    ],
)
async def test_refusal_does_not_show_the_connection_string(
    connection_string: str, error: type[SpireError], message: str
) -> None:
    config = DatastoreConfig(database_type="postgres", connection_string=connection_string)
    with pytest.raises(error) as refusal:
        async with open_datastore(config):
            pass
    assert refusal.value.message == message
    assert "hunter2" not in repr(config)
