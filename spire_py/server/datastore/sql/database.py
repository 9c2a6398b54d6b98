"""Runs statements in threads, one transaction at a time, and translates errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from spire_py.errors import SpireError
from spire_py.server.datastore.sql.errors import translated
from spire_py.server.datastore.sql.group_commit import Batch, GroupCommit, Part, one_by_one
from spire_py.server.datastore.sql.sqlite import DURABLE

P = ParamSpec("P")
T = TypeVar("T")
ItemT = TypeVar("ItemT")


class Engines(Protocol):
    """An engine for reads and one for writes; they may be the same."""

    reader: Engine
    writer: Engine
    readers: int


class Database:
    """A database, seen from the event loop.

    SQLAlchemy is used without its asyncio layer, which costs three times as much per statement:
    the work of a call runs in a thread, with a connection of its own, in one transaction. SQLite
    has one thread that writes, since it takes one writer at a time; see `GroupCommit`.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._readers = ThreadPoolExecutor(engines.readers, "datastore-read")
        self._is_sqlite = engines.writer.dialect.name == "sqlite"
        self._writers = (
            ThreadPoolExecutor(1, "datastore-write") if self._is_sqlite else self._readers
        )
        self._group_commit = GroupCommit(self._run_all, self._writers) if self._is_sqlite else None
        # SQLite's one that writes. To borrow it from the pool each time costs as much as to use it.
        self._writing: Connection | None = None

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` on one state of the database; it changes nothing.

        Raises:
            Unavailable: the database is away, or locked for longer than the busy timeout.
        """
        threads = self._writers if self._shares_one_connection else self._readers
        return await asyncio.get_running_loop().run_in_executor(
            threads, lambda: self._run(self._engines.reader, work, *args, **kwargs)
        )

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a transaction: all of it happens, or, when it raises, nothing.

        A caller that is cancelled does not stop it.

        Raises:
            Unavailable: the database is away, or locked for longer than the busy timeout.
            AlreadyExists: a unique index refused the change.
            ResourceExhausted: the disk is full.
        """
        return await self._write(lambda connection: work(connection, *args, **kwargs), False)

    async def write_durably(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`, and on disk when this returns: for what takes rights away.

        With SQLite a plain write may be lost in a power cut, as with SPIRE; never torn, and never
        by the end of the process. PostgreSQL makes no difference.
        """
        return await self._write(lambda connection: work(connection, *args, **kwargs), True)

    async def write_together(
        self, batch: Batch[ItemT, T], item: ItemT, *, durable: bool = False
    ) -> T:
        """As `write` or `write_durably`, for what many callers ask for at a time.

        Where they wait for the one writer of SQLite anyway, `batch` gets the items of all of them.
        """
        if self._group_commit is not None:
            return await self._group_commit.run(batch, item, durable=durable)
        return await asyncio.get_running_loop().run_in_executor(
            self._writers, self._run, self._engines.writer, partial(_alone, batch, item)
        )

    async def _write(self, work: Callable[[Connection], T], durable: bool) -> T:
        return await self.write_together(one_by_one, work, durable=durable)

    def _run_all(self, parts: Sequence[Part], durable: bool) -> list[Sequence[Any]]:
        def work(connection: Connection) -> list[Sequence[Any]]:
            return [batch(connection, items) for batch, items in parts]

        if self._shares_one_connection:
            return self._run(self._engines.writer, work)
        with translated():
            connection = self._writing or self._engines.writer.connect()
            self._writing = None
            try:
                with connection.execution_options(**{DURABLE: durable}).begin():
                    results = work(connection)
            except SpireError:
                self._writing = connection  # rolled back
                raise
            except BaseException:
                # A transaction may be open still, as after a COMMIT that failed. The pool ends it.
                connection.close()
                raise
            self._writing = connection
            return results

    async def aclose(self) -> None:
        """Wait for what is under way, then close all connections."""
        if self._group_commit is not None:
            await self._group_commit.aclose()
        await asyncio.to_thread(self._close)

    @property
    def _shares_one_connection(self) -> bool:
        return self._is_sqlite and self._engines.reader is self._engines.writer

    def _run(
        self,
        engine: Engine,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with translated(), engine.begin() as connection:
            return work(connection, *args, **kwargs)

    def _close(self) -> None:
        self._readers.shutdown()
        self._writers.shutdown()
        if self._writing is not None:
            self._writing.close()
        self._engines.reader.dispose()
        self._engines.writer.dispose()


def _alone(batch: Batch[ItemT, T], item: ItemT, connection: Connection) -> T:
    (result,) = batch(connection, [item])
    if isinstance(result, SpireError):
        raise result
    return result
