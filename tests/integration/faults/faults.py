"""What befalls a process: a full disk, a killed one, a database that someone else holds."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.integration.daemons import TRUST_DOMAIN, Process, Stack

NEVER_IN_A_LOG = ("Traceback", "internal error", "call_failed", "Task exception", "never awaited")


@contextmanager
def full_disk(process: Process, *, largest_bytes: int = 0) -> Iterator[None]:
    """No file of the process can grow beyond `largest_bytes`: writing fails, as on a full disk."""
    pid = process.popen.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest_bytes, before[1]))
    try:
        yield
    finally:
        if process.popen.poll() is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def database(stack: Stack) -> Path:
    return stack.folder / "server-data" / "datastore.sqlite3"


@contextmanager
def locked_database(stack: Stack, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Someone else is in the middle of a transaction that writes."""
    with closing(sqlite3.connect(database(stack), isolation_level=None)) as connection:
        connection.execute(f"BEGIN {kind}")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def content(stack: Stack) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but the events, for a comparison of before and after."""
    with closing(sqlite3.connect(f"file:{database(stack)}?mode=ro", uri=True)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if not name.startswith("sqlite_")
        ]
        return {
            name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
            for name in tables
        }


def is_intact(stack: Stack) -> bool:
    with closing(sqlite3.connect(database(stack))) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def assert_no_bug(*processes: Process) -> None:
    """What went wrong was told in lines for operators, never by a traceback."""
    for process in processes:
        for text in NEVER_IN_A_LOG:
            assert text not in process.output, process.output


def entry_words(name: str, parent: str = "node") -> tuple[str, ...]:
    """The words of `entry create` for an entry that no process of this host matches."""
    return (
        *("entry", "create"),
        *("-parentID", f"spiffe://{TRUST_DOMAIN}/{parent}"),
        *("-spiffeID", f"spiffe://{TRUST_DOMAIN}/{name}"),
        *("-selector", "unix:uid:4000000000"),
    )


def end(process: Process, seconds: float = 30.0) -> int:
    """The exit code of a process that ends by itself."""
    return process.wait_for_end(seconds)
