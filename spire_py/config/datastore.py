"""The data of the plugin DataStore "sql" (features L1 to L8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from spire_py.config.problems import Problem
from spire_py.config.reader import Reader, Section
from spire_py.config.tree import is_block
from spire_py.config.values import Flag, Text, Whole, duration

_TYPES = ("sqlite3", "postgres", "mysql")


class DatastoreConfig(Section):
    """How the database is reached. The connection strings may hold a password: never shown."""

    section_name: ClassVar[str] = 'DataStore "sql"'
    refuses_unknown_keys: ClassVar[bool] = False
    zero_is_a_value: ClassVar[frozenset[str]] = frozenset({"max_open_conns", "max_idle_conns"})

    database_type: Text = ""
    connection_string: Text = Field(default="", repr=False)
    ro_connection_string: Text = Field(default="", repr=False)
    """For reads that may be stale."""
    root_ca_path: Text = ""
    client_cert_path: Text = ""
    client_key_path: Text = ""
    max_open_conns: Whole = 100
    """0 or less for no limit."""
    max_idle_conns: Whole = 100
    conn_max_lifetime: Annotated[
        timedelta | None, duration("failed to parse conn_max_lifetime {value}: {error}")
    ] = None
    """None for no limit."""
    disable_migration: Flag = False
    log_sql: Flag = False


def read_datastore(reader: Reader, data: Mapping[str, Any], line: int | None) -> DatastoreConfig:
    """The datastore's data as a model; faults are added to the reader's."""
    database_type = data.get("database_type")
    if is_block(database_type) and database_type:
        reader.problems.append(
            Problem(
                "datastore-sql: databases with AWS IAM authentication (aws_postgres, aws_mysql) "
                'are not available in this release; please use database_type = "postgres" with '
                "a password",
                line,
            )
        )
        return DatastoreConfig()
    config = reader.read(DatastoreConfig, data, line=line)
    _check(config, reader)
    return config


def _check(config: DatastoreConfig, reader: Reader) -> None:
    if not config.database_type:
        reader.fault("datastore-sql: database_type must be set")
    elif config.database_type == "mysql":
        reader.fault(
            'datastore-sql: database_type "mysql" is not available in this release; '
            'please use "postgres" or "sqlite3"',
            "database_type",
        )
    elif config.database_type not in _TYPES:
        reader.fault(
            f"datastore-sql: unsupported database_type: {config.database_type}; "
            f"known are {', '.join(_TYPES)}",
            "database_type",
        )
    if not config.connection_string:
        reader.fault("datastore-sql: connection_string must be set")
