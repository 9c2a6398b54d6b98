"""Writes that wait for each other anyway share a transaction, and its way to the disk."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from spire_py.errors import SpireError, Unavailable

T = TypeVar("T")
ItemT = TypeVar("ItemT")

Work = Callable[[Connection], T]
Batch = Callable[[Connection, Sequence[ItemT]], Sequence[T | SpireError]]
"""Does the same with each of several items: to each its result, or what it is refused with.

An item that is refused has changed nothing.
"""
Part = tuple[Batch[Any, Any], Sequence[Any]]
"""A batch with the items of all who asked for it."""
Transaction = Callable[[Sequence[Part], bool], list[Sequence[Any]]]
"""Blocks: runs batches one after the other in one transaction, durable or not."""

_LARGEST_GROUP = 32
"""Items in one transaction: no other process can write to the file while it lasts."""


def one_by_one(connection: Connection, works: Sequence[Work[T]]) -> list[T | SpireError]:
    """The batch of those that have nothing in common."""
    return [work(connection) for work in works]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    batch: Batch[Any, Any]
    item: Any
    durable: bool
    outcome: asyncio.Future[Any]


class GroupCommit:
    """The queue before a single writer.

    Whoever finds the writer free goes at once. Those who come meanwhile are committed together
    afterwards; those among them who ask for the same batch share its statements, each of which
    makes the thread wait for the interpreter. Where one fails, nothing of that group happens, and
    each is run again in a transaction of its own: nobody sees the failure of another, and a work
    may be run twice. Where the database itself is away or locked, all of the group are told at
    once.
    """

    def __init__(self, transaction: Transaction, thread: Executor) -> None:
        self._transaction = transaction
        self._thread = thread
        self._waiting: deque[_Asked] = deque()
        self._alone: deque[_Asked] = deque()
        self._running: asyncio.Future[list[Sequence[Any]]] | None = None

    async def run(self, batch: Batch[ItemT, T], item: ItemT, *, durable: bool) -> T:
        """Run `batch` with `item`, and maybe others' items, in a transaction.

        A caller that is cancelled does not stop it.

        Raises:
            SpireError: as `batch` or the database does.
        """
        outcome = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(batch, item, durable, outcome))
        if self._running is None:
            self._start()
        return cast(T, await outcome)

    async def aclose(self) -> None:
        """Wait until all that was asked for is done."""
        while self._running is not None:
            await asyncio.wait([self._running])

    def _start(self) -> None:
        if self._alone:
            group = [self._alone.popleft()]
        else:
            size = min(len(self._waiting), _LARGEST_GROUP)
            group = [self._waiting.popleft() for _ in range(size)]
        parts = _parts(group)
        try:
            self._running = asyncio.get_running_loop().run_in_executor(
                self._thread,
                self._transaction,
                [(part[0].batch, [asked.item for asked in part]) for part in parts],
                any(asked.durable for asked in group),
            )
        except RuntimeError:  # the thread has ended
            self._refuse_all(group)
        else:
            self._running.add_done_callback(partial(self._finish, parts))

    def _refuse_all(self, group: Sequence[_Asked]) -> None:
        for asked in (*group, *self._alone, *self._waiting):
            _tell(asked.outcome, Unavailable("datastore-sql: the database is closed"))
        self._alone.clear()
        self._waiting.clear()

    def _finish(
        self, parts: Sequence[Sequence[_Asked]], finished: asyncio.Future[list[Sequence[Any]]]
    ) -> None:
        error = finished.exception()
        group = [asked for part in parts for asked in part]
        if error is None:
            results = [result for part in finished.result() for result in part]
            for asked, result in zip(group, results, strict=True):
                _tell(asked.outcome, result)
        elif len(group) == 1 or isinstance(error, Unavailable):
            for asked in group:
                _tell(asked.outcome, error)
        else:
            self._alone.extend(group)
        self._running = None
        if self._alone or self._waiting:
            self._start()


def _parts(group: Sequence[_Asked]) -> list[list[_Asked]]:
    """Those who ask for the same batch, in the order in which they came."""
    parts: defaultdict[object, list[_Asked]] = defaultdict(list)
    for asked in group:
        parts[asked.batch].append(asked)
    return list(parts.values())


def _tell(outcome: asyncio.Future[Any], result: object) -> None:
    if outcome.done():
        return
    if isinstance(result, BaseException):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)
