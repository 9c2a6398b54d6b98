from __future__ import annotations

from datetime import timedelta

import pytest

from spire_py.config.datastore import DatastoreConfig, read_datastore
from spire_py.config.hcl import parse
from spire_py.config.reader import Reader


def read(text: str) -> tuple[DatastoreConfig, list[str], list[str]]:
    reader = Reader()
    config = read_datastore(reader, parse(text), 9)
    return (
        config,
        [str(problem) for problem in reader.problems],
        [str(warning) for warning in reader.warnings],
    )


def test_every_key_is_kept() -> None:
    config, problems, warnings = read(
        'database_type = "postgres" connection_string = "c" ro_connection_string = "r" '
        'root_ca_path = "a" client_cert_path = "b" client_key_path = "d" max_open_conns = "5" '
        'max_idle_conns = 0 conn_max_lifetime = "1m" disable_migration = true log_sql = true'
    )
    assert (problems, warnings) == ([], [])
    assert config.connection_string == "c"
    assert config.ro_connection_string == "r"
    assert (config.max_open_conns, config.max_idle_conns) == (5, 0)
    assert config.conn_max_lifetime == timedelta(minutes=1)
    assert config.disable_migration
    assert config.log_sql


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('connection_string = "c"', "datastore-sql: database_type must be set (line 9)"),
        ('database_type = "sqlite3"', "datastore-sql: connection_string must be set (line 9)"),
        (
            'database_type = "oracle" connection_string = "c"',
            (
                "datastore-sql: unsupported database_type: oracle; "
                "known are sqlite3, postgres, mysql (line 1)"
            ),
        ),
        (
            'database_type = "mysql" connection_string = "c"',
            (
                'datastore-sql: database_type "mysql" is not available in this release; '
                'please use "postgres" or "sqlite3" (line 1)'
            ),
        ),
        (
            'database_type "aws_postgres" { region = "x" } connection_string = "c"',
            (
                "datastore-sql: databases with AWS IAM authentication (aws_postgres, aws_mysql) "
                'are not available in this release; please use database_type = "postgres" '
                "with a password (line 9)"
            ),
        ),
        (
            'database_type = "sqlite3" connection_string = "c"\nconn_max_lifetime = "x"',
            'failed to parse conn_max_lifetime "x": time: invalid duration "x" (line 2)',
        ),
    ],
)
def test_fault_is_told_with_its_line(text: str, problem: str) -> None:
    assert problem in read(text)[1]


def test_unknown_key_is_a_warning() -> None:
    _, problems, warnings = read('database_type = "sqlite3" connection_string = "c"\nmax_conns = 1')
    assert problems == []
    assert warnings == [
        (
            'unknown configuration detected: "max_conns" in DataStore "sql"; '
            'did you mean "max_open_conns"? (line 2)'
        )
    ]
