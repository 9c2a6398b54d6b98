from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from spire_py.config.datastore import DatastoreConfig
from spire_py.errors import FailedPrecondition, Internal, SpireError
from spire_py.server.datastore import open_datastore
from spire_py.server.datastore.sql.migration import CodeVersion, parse_code_version
from spire_py.version import SPIRE_VERSION
from tests.unit.datastore.conftest import Opener
from tests.unit.datastore.samples import agent, entry
from tests.unit.datastore.schema_dump import postgres_schema, sqlite_schema

HERE = Path(__file__).parent


def run_sql(config: DatastoreConfig, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as a foreign program would; returns the rows of the last one."""
    if config.database_type == "sqlite3":
        engine = create_engine(f"sqlite:///{config.connection_string}")
    else:
        import psycopg

        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(config.connection_string)
        )
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def version_row(config: DatastoreConfig) -> list[tuple[Any, ...]]:
    return run_sql(config, "SELECT version, code_version FROM migrations")


def set_version(config: DatastoreConfig, version: int, code_version: str) -> None:
    run_sql(config, f"UPDATE migrations SET version = {version}, code_version = '{code_version}'")


async def made(opener: Opener) -> DatastoreConfig:
    async with opener() as datastore:
        await datastore.create_entry(entry())
        await datastore.create_agent(agent())
    return opener.config


async def test_new_database_is_what_spire_makes(opener: Opener) -> None:
    config = await made(opener)
    dump: Callable[[str], list[str]] = (
        sqlite_schema if config.database_type == "sqlite3" else postgres_schema
    )
    dialect = "sqlite" if config.database_type == "sqlite3" else "postgres"
    golden = (HERE / f"spire_schema_25.{dialect}.txt").read_text().splitlines()
    assert dump(config.connection_string) == golden
    assert version_row(config) == [(25, SPIRE_VERSION)]


async def test_database_of_the_last_schema_but_one_is_brought_up_to_date(opener: Opener) -> None:
    config = await made(opener)
    run_sql(config, "ALTER TABLE registered_entries DROP COLUMN additional_attributes")
    run_sql(config, "ALTER TABLE attested_node_entries DROP COLUMN agent_version")
    set_version(config, 23, "1.12.0")
    async with opener() as datastore:
        assert [each.spiffe_id for each in await datastore.load_all_entries()] == [
            entry().spiffe_id
        ]
        assert await datastore.load_all_agents() == [agent()]
        await datastore.create_entry(entry("/more", jwt_svid_include_jti=True))
        await datastore.update_agent(agent().id, agent_version="1")
    assert version_row(config) == [(25, SPIRE_VERSION)]


async def test_schema_24_gets_the_one_column_it_lacks(opener: Opener) -> None:
    config = await made(opener)
    run_sql(config, "ALTER TABLE registered_entries DROP COLUMN additional_attributes")
    set_version(config, 24, "1.14.0")
    async with opener() as datastore:
        await datastore.create_entry(entry("/more", disable_x509_svid_prefetch=True))
    assert version_row(config) == [(25, SPIRE_VERSION)]


@pytest.mark.parametrize(
    ("version", "code_version", "disabled", "error", "message"),
    [
        pytest.param(
            22, "1.7.2", False, FailedPrecondition,
            "datastore-sql: migrating from schema version 22 requires a previous SPIRE release; "
            "please follow the upgrade strategy at doc/upgrading.md", id="too old",
        ),
        pytest.param(
            26, "1.17.0", False, FailedPrecondition,
            "datastore-sql: incompatible DB schema and code version", id="too new",
        ),
        pytest.param(
            26, "2.15.0", False, FailedPrecondition,
            "datastore-sql: incompatible DB schema and code version", id="next major version",
        ),
        pytest.param(
            24, "1.13.0", True, FailedPrecondition,
            "datastore-sql: auto-migration must be enabled for current DB", id="not migrated",
        ),
        pytest.param(
            25, "spire", False, Internal,
            "datastore-sql: error getting DB code version: unable to parse code version from DB: "
            "'spire' is no version", id="no version",
        ),
    ],
)  # fmt: skip
async def test_database_that_does_not_fit_is_refused_and_left_alone(
    opener: Opener,
    version: int,
    code_version: str,
    disabled: bool,
    error: type[SpireError],
    message: str,
) -> None:
    config = await made(opener)
    set_version(config, version, code_version)
    changed = config.model_copy(update={"disable_migration": disabled})
    with pytest.raises(error) as refusal:
        async with open_datastore(changed):
            pass
    assert refusal.value.message == message
    assert version_row(config) == [(version, code_version)]


@pytest.mark.parametrize(
    ("version", "code_version", "disabled", "left"),
    [
        pytest.param(25, "1.0.0", False, (25, SPIRE_VERSION), id="older release"),
        pytest.param(25, "1.15.0-dev-unk", False, (25, SPIRE_VERSION), id="pre-release"),
        pytest.param(25, "", False, (25, SPIRE_VERSION), id="no release"),
        pytest.param(25, "1.16.0-dev-unk", False, (25, "1.16.0-dev-unk"), id="newer release"),
        pytest.param(26, "1.16.0", False, (26, "1.16.0"), id="schema one ahead"),
        pytest.param(24, "1.14.0", True, (24, "1.14.0"), id="migration disabled"),
    ],
)
async def test_database_that_fits_is_opened(
    opener: Opener, version: int, code_version: str, disabled: bool, left: tuple[int, str]
) -> None:
    config = await made(opener)
    set_version(config, version, code_version)
    changed = config.model_copy(update={"disable_migration": disabled})
    async with open_datastore(changed) as datastore:
        assert await datastore.count_entries() == 1
    assert version_row(config) == [left]


async def test_failed_migration_leaves_no_half_made_schema(sqlite_opener: Opener) -> None:
    config = sqlite_opener.config
    connection = sqlite3.connect(config.connection_string)
    connection.execute("CREATE TABLE selectors (mine integer)")
    connection.close()
    with pytest.raises(Internal, match="already exists"):
        async with sqlite_opener():
            pass
    assert run_sql(config, "SELECT name FROM sqlite_master WHERE type = 'table'") == [
        ("selectors",)
    ]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.15.3", "1.15.4"),
        ("1.9.9", "1.10.0"),
        ("1.16.0-dev", "1.16.0"),
        ("1.16.0-dev.2", "1.16.0-dev.10"),
        ("1.16.0-1", "1.16.0-dev"),
        ("0.12.0", "1.0.0"),
    ],
)
def test_versions_are_ordered_as_semver_says(older: str, newer: str) -> None:
    assert parse_code_version(newer).is_newer_than(parse_code_version(older))
    assert not parse_code_version(older).is_newer_than(parse_code_version(newer))
    assert not parse_code_version(older).is_newer_than(parse_code_version(older))


@pytest.mark.parametrize(
    "text", ["1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", " "]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Internal, match="is no version"):
        parse_code_version(text)


def test_build_information_counts_for_nothing() -> None:
    assert parse_code_version("1.2.3+build.5") == CodeVersion(1, 2, 3, "")
