"""Makes the schema, or brings an older one up to date (feature L7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, inspect, select, update

from spire_py.errors import FailedPrecondition, Internal
from spire_py.server.datastore.sql import ddl, schema
from spire_py.telemetry.logs import get_logger
from spire_py.version import SPIRE_VERSION

log = get_logger("sql")

_SEMVER = re.compile(
    r"(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LOCK_KEY = 0x5350_4952  # any number will do, as long as all of our servers take the same one


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """A release of SPIRE, as `migrations.code_version` holds it."""

    major: int
    minor: int
    patch: int
    pre_release: str

    def is_compatible(self, other: CodeVersion) -> bool:
        """Whether both may use one database: their minor versions differ by one at most."""
        return self.major == other.major and abs(self.minor - other.minor) <= 1

    def is_newer_than(self, other: CodeVersion) -> bool:
        return self._order > other._order

    @property
    def _order(self) -> tuple[int, int, int, bool, list[tuple[bool, int, str]]]:
        parts = [
            (not part.isdigit(), int(part) if part.isdigit() else 0, part)
            for part in self.pre_release.split(".")
        ]
        return self.major, self.minor, self.patch, not self.pre_release, parts


def parse_code_version(text: str) -> CodeVersion:
    """Read a version; an empty text is 0.0.0, as in the oldest databases.

    Raises:
        Internal: it is no version.
    """
    if not text:
        return CodeVersion(0, 0, 0, "")
    found = _SEMVER.fullmatch(text)
    if found is None:
        raise Internal(
            "datastore-sql: error getting DB code version: unable to parse code version from DB: "
            f"{text!r} is no version"
        )
    major, minor, patch = (int(found[name]) for name in ("major", "minor", "patch"))
    return CodeVersion(major, minor, patch, found["pre"] or "")


def migrate(connection: Connection, now: datetime, *, disabled: bool) -> None:
    """Make or check the schema, in the transaction that `connection` is in.

    Args:
        connection: nobody else may be changing the schema at the same time.
        now: the time to be written.
        disabled: change no schema that is older.

    Raises:
        FailedPrecondition: the schema is too old or too new for this release.
        Internal: the stored version cannot be read.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
    if not inspect(connection).has_table(schema.migrations.name):
        _create(connection, now)
        return
    row = connection.execute(
        select(schema.migrations.c.version, schema.migrations.c.code_version)
    ).first()
    version = row.version if row else 0
    own, stored = (
        parse_code_version(SPIRE_VERSION),
        parse_code_version((row.code_version if row else "") or ""),
    )
    if version == schema.VERSION:
        if own.is_newer_than(stored):
            _write_version(connection, now, version)
        return
    if disabled:
        _check_compatible(own, stored, "auto-migration must be enabled for current DB")
        return
    if version > schema.VERSION:
        _check_compatible(own, stored, "incompatible DB schema and code version")
        log.warning(
            "DB schema is ahead of code version, upgrading SPIRE Server is recommended",
            schema=str(version),
        )
        return
    _upgrade(connection, version, now)


def _create(connection: Connection, now: datetime) -> None:
    log.info("Initializing new database")
    for statement in ddl.create_statements(connection.dialect.name):
        connection.exec_driver_sql(statement)
    connection.execute(
        insert(schema.migrations).values(
            created_at=now, updated_at=now, version=schema.VERSION, code_version=SPIRE_VERSION
        )
    )


def _check_compatible(own: CodeVersion, stored: CodeVersion, message: str) -> None:
    if not own.is_compatible(stored):
        raise FailedPrecondition(f"datastore-sql: {message}")


def _upgrade(connection: Connection, version: int, now: datetime) -> None:
    if version < schema.OLDEST_VERSION:
        raise FailedPrecondition(
            f"datastore-sql: migrating from schema version {version} requires a previous SPIRE "
            "release; please follow the upgrade strategy at doc/upgrading.md"
        )
    log.info("Running migrations...")
    for step in range(version, schema.VERSION):
        log.info("Migrating version", version_info=str(step))
        _STEPS[step](connection)
    _write_version(connection, now, schema.VERSION)
    log.info("Done running migrations")


def _write_version(connection: Connection, now: datetime, version: int) -> None:
    connection.execute(
        update(schema.migrations).values(
            updated_at=now, version=version, code_version=SPIRE_VERSION
        )
    )


def _to_24(connection: Connection) -> None:
    ddl.add_missing_columns(connection, schema.agents)


def _to_25(connection: Connection) -> None:
    ddl.add_missing_columns(connection, schema.entries)


_STEPS: dict[int, Callable[[Connection], None]] = {23: _to_24, 24: _to_25}
