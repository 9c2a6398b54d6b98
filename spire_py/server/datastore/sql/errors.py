"""What a database says, as errors of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from spire_py.errors import (
    AlreadyExists,
    Internal,
    NotFound,
    ResourceExhausted,
    SpireError,
    Unavailable,
)

_UNIQUE = frozenset({"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})
_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
_AWAY = ("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_PROTOCOL")

_PG_UNIQUE = "23505"
_PG_FULL = frozenset({"53100", "53200"})
_PG_LOCKED = frozenset({"55P03", "40001", "40P01"})
_PG_READ_ONLY = "25006"
_PG_AWAY_CLASSES = frozenset({"08", "53", "57", "58"})


def not_found() -> NotFound:
    """A row that is to be changed is not there, in SPIRE's words."""
    return NotFound("datastore-sql: record not found")


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLAlchemy and its drivers into ours."""
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("datastore-sql: no database connection became free in time") from error
    except DBAPIError as error:
        raise _translate(error) from error
    except SQLAlchemyError as error:
        raise Internal(f"datastore-sql: {type(error).__name__}") from error
    except sqlite3.Error as error:
        raise _from_sqlite(error) from error


def _translate(error: DBAPIError) -> SpireError:
    if isinstance(error.orig, sqlite3.Error):
        return _from_sqlite(error.orig)
    return _from_postgres(error)


def _from_sqlite(error: sqlite3.Error) -> SpireError:
    name = getattr(error, "sqlite_errorname", "")
    text = f"datastore-sql: {error}"
    if name in _UNIQUE:
        return AlreadyExists(text)
    if name.startswith(_LOCKED):
        return Unavailable(f"{text}: another process or transaction holds it; try again")
    if name.startswith("SQLITE_FULL"):
        return ResourceExhausted(f"{text}: free some space for the database file")
    if name.startswith(_AWAY):
        return Unavailable(text)
    return Internal(text)


def _from_postgres(error: DBAPIError) -> SpireError:
    state = getattr(error.orig, "sqlstate", None) or ""
    # The driver's own text names the host and user; what the server said does not.
    said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    text = f"datastore-sql: pq: {said}" if said else "datastore-sql: database is not reachable"
    if state == _PG_UNIQUE:
        return AlreadyExists(text)
    if state in _PG_FULL:
        return ResourceExhausted(text)
    if state in _PG_LOCKED or state == _PG_READ_ONLY or state[:2] in _PG_AWAY_CLASSES:
        return Unavailable(text)
    if error.connection_invalidated or not state:
        return Unavailable(text)
    return Internal(text)
