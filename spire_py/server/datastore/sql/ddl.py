"""The statements that make SPIRE's tables, as its own object mapper writes them.

SPIRE looks for columns in the stored text of SQLite's tables, and a database of ours shall not
differ from one of SPIRE's in any way that somebody could see.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    inspect,
)

from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.types import Timestamp

_TYPES: dict[str, dict[type[object], str]] = {
    "sqlite": {
        Integer: "integer",
        BigInteger: "bigint",
        Boolean: "bool",
        Text: "varchar(255)",
        LargeBinary: "blob",
        Timestamp: "datetime",
    },
    "postgresql": {
        Integer: "integer",
        BigInteger: "bigint",
        Boolean: "boolean",
        Text: "text",
        LargeBinary: "bytea",
        Timestamp: "timestamp with time zone",
    },
}
_ID = {"sqlite": "integer primary key autoincrement", "postgresql": "serial"}


def create_statements(dialect: str) -> Iterator[str]:
    """All statements for an empty database, in order; `dialect` is SQLAlchemy's name of it."""
    for table in schema.metadata.tables.values():
        yield create_table(table, dialect)
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            yield create_index(index)


def create_table(table: Table, dialect: str) -> str:
    """The statement that makes one table, less its indexes."""
    columns = ",".join(f'"{column.name}" {_column_type(column, dialect)}' for column in table.c)
    keys = ",".join(f'"{column.name}"' for column in table.primary_key)
    if len(table.primary_key) > 1:
        return f'CREATE TABLE "{table.name}" ({columns}, PRIMARY KEY ({keys}))'
    key = "" if "primary key" in columns else f", PRIMARY KEY ({keys})"
    return f'CREATE TABLE "{table.name}" ({columns} {key})'


def create_index(index: Index) -> str:
    """The statement that makes one index; only names without an underscore are quoted."""
    kind = "UNIQUE INDEX" if index.unique else "INDEX"
    columns = ", ".join(
        column.name if "_" in column.name else f'"{column.name}"' for column in index.columns
    )
    table = index.table.name if index.table is not None else ""
    return f'CREATE {kind} {index.name} ON "{table}"({columns}) '


def add_missing_columns(connection: Connection, table: Table) -> None:
    """Add to a table of an older schema the columns that it has not."""
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.c:
        if column.name not in present:
            kind = _column_type(column, connection.dialect.name)
            connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD "{column.name}" {kind}')


def _column_type(column: Column[object], dialect: str) -> str:
    if column.primary_key and len(column.table.primary_key) == 1:
        return _ID[dialect]
    kind = _TYPES[dialect][type(column.type)]
    return kind if column.nullable or column.primary_key else f"{kind} NOT NULL"
