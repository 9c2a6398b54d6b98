"""Connections to a SQLite file, as SPIRE opens it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from spire_py.errors import Internal, InvalidArgument

_FILE_MODE = 0o640
"""What SPIRE's umask makes of a new database file."""

_READERS = 2

DURABLE = "durable"
"""The execution option of transactions that must outlive a power cut."""

_FAST = "PRAGMA synchronous = NORMAL"
_SAFE = "PRAGMA synchronous = FULL"


class SQLiteEngines:
    """One connection that writes, and some that read beside it (WAL mode)."""

    def __init__(self, connection_string: str, *, busy_timeout: timedelta) -> None:
        uri = sqlite_uri(connection_string)
        connect = _connector(uri, busy_timeout)
        if _is_in_memory(uri):
            self.writer = _engine(connect, size=1, begin="BEGIN IMMEDIATE")
            self.reader = self.writer
            self.readers = 1
            return
        _create_file(uri)
        self.writer = _engine(connect, size=1, begin="BEGIN IMMEDIATE")
        self.reader = _engine(connect, size=_READERS, begin="BEGIN")
        self.readers = _READERS


def sqlite_uri(connection_string: str) -> str:
    """The `file:` URI for what the configuration gives: a path, or such a URI.

    Raises:
        InvalidArgument: it is a URI of another scheme.
    """
    scheme = urlsplit(connection_string).scheme
    if not scheme:
        return f"file:{connection_string}"
    if scheme != "file":
        raise InvalidArgument(f'datastore-sql: unsupported scheme "{scheme}"')
    return connection_string


def _is_in_memory(uri: str) -> bool:
    path, _, query = uri.removeprefix("file:").partition("?")
    return path in {"", ":memory:"} or "mode=memory" in query.split("&")


def _create_file(uri: str) -> None:
    """Make the file beforehand where it is missing, so that nobody else may read it."""
    name = unquote(uri.removeprefix("file:").partition("?")[0])
    path = Path(name.removeprefix("//") if name.startswith("///") else name)
    try:
        if path.exists() or "mode=ro" in uri or not path.parent.is_dir():
            return
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, _FILE_MODE)
    except OSError as error:
        raise Internal(f"datastore-sql: unable to create {path}: {error.strerror}") from error
    os.close(descriptor)


def _connector(uri: str, busy_timeout: timedelta) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        # The driver begins no transactions by itself; `_engine` does. A connection is used by one
        # thread at a time.
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=busy_timeout.total_seconds(),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(_FAST)
        return connection

    return connect


def _engine(connect: Callable[[], sqlite3.Connection], *, size: int, begin: str) -> Engine:
    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=size, max_overflow=0
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Straight to the driver: this runs before every transaction.
        driver: Any = connection.connection.driver_connection
        if connection.get_execution_options().get(DURABLE):
            connection.info[DURABLE] = True
            driver.execute(_SAFE)
        elif connection.info.pop(DURABLE, False):
            driver.execute(_FAST)
        driver.execute(begin)

    return engine
