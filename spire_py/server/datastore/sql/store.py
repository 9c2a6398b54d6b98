"""What the stores of all nouns have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Column, Connection, Row, Table, delete, insert, select
from sqlalchemy.sql import Select

from spire_py.errors import InvalidArgument
from spire_py.runtime.clock import Clock
from spire_py.server.datastore.filters import Page
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.database import Database

T = TypeVar("T")
Query: TypeAlias = "Select[*tuple[Any, ...]]"
AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"

_MAX_PARAMETERS = 1000
"""Values in one IN list; SQLite takes 32,766 and PostgreSQL 65,535 in one statement."""

_LARGEST_ID = 2**31 - 1
"""IDs are 32 bits wide on PostgreSQL."""


_EVENT_INSERTS = {table.name: insert(table) for table in (schema.entry_events, schema.agent_events)}


class Store:
    """Access to one database; each noun's store is a subclass, and the datastore is all of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock


def chunks(values: Iterable[T], size: int = _MAX_PARAMETERS) -> Iterator[Sequence[T]]:
    """The values in lists that one statement can take."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def paged(query: Query, id_column: Column[Any], page: Page | None) -> Query:
    """The query in order of IDs, narrowed to one page.

    Raises:
        InvalidArgument: the page's size or token is none.
    """
    query = query.order_by(id_column)
    if page is None:
        return query
    return query.where(id_column > first_after(page)).limit(page.size)


def first_after(page: Page) -> int:
    """The row ID after which a page begins; it is the last one of the page before.

    Raises:
        InvalidArgument: the page's size or token is none.
    """
    if page.size <= 0:
        raise InvalidArgument(f"cannot paginate with pagesize = {page.size}")
    if not page.token:
        return 0
    if not (page.token.isascii() and page.token.isdigit()) or len(page.token) > 20:
        raise InvalidArgument(f"could not parse token '{page.token}'")
    return min(int(page.token), _LARGEST_ID)


def next_token(page: Page | None, ids: Sequence[int]) -> str:
    """The token for the page after one with these IDs.

    As in SPIRE, a list ends with a page that is empty: only that one has no token.
    """
    return str(ids[-1]) if page is not None and ids else ""


def events_after(connection: Connection, table: Table, after_id: int) -> list[tuple[int, str]]:
    """The IDs of events, with the name each is about, in order."""
    query = select(table.c.id, table.c[_name_column(table)]).where(table.c.id > after_id)
    return [(row[0], row[1] or "") for row in connection.execute(query.order_by(table.c.id))]


def latest_event_id(connection: Connection, table: Table) -> int:
    """The highest event ID; 0 where there is none."""
    query = select(table.c.id).order_by(table.c.id.desc()).limit(1)
    return connection.execute(query).scalar() or 0


def add_events(connection: Connection, table: Table, names: Iterable[str], now: object) -> None:
    """Tell everyone who follows the table that something happened to these."""
    column = _name_column(table)
    rows = [{"created_at": now, "updated_at": now, column: name} for name in names]
    if rows:
        connection.execute(_EVENT_INSERTS[table.name], rows)


def prune_events(connection: Connection, table: Table, older_than: object) -> int:
    """Delete old events; returns how many."""
    return connection.execute(delete(table).where(table.c.created_at < older_than)).rowcount


def _name_column(table: Table) -> str:
    """An entry's event has its entry ID, an agent's its SPIFFE ID."""
    return "entry_id" if "entry_id" in table.c else "spiffe_id"
