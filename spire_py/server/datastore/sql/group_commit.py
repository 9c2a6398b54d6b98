"""Writes that wait for each other anyway share a transaction, and its way to the disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from spire_py.errors import Unavailable

T = TypeVar("T")

Work = Callable[[Connection], Any]
Transaction = Callable[[Sequence[Work], bool], list[Any]]
"""Blocks: runs works one after the other in one transaction, durable or not."""

_LARGEST_GROUP = 32
"""Works in one transaction: no other process can write to the file while it lasts."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    work: Work
    durable: bool
    outcome: asyncio.Future[Any]


class GroupCommit:
    """The queue before a single writer.

    Whoever finds the writer free goes at once. Those who come meanwhile are committed together
    afterwards. Where one of them fails, nothing of that group happens, and each is run again in a
    transaction of its own: nobody sees the failure of another, and a work may be run twice. Where
    the database itself is away or locked, all of the group are told at once.
    """

    def __init__(self, transaction: Transaction, thread: Executor) -> None:
        self._transaction = transaction
        self._thread = thread
        self._waiting: deque[_Asked] = deque()
        self._alone: deque[_Asked] = deque()
        self._running: asyncio.Future[list[Any]] | None = None

    async def run(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        """Run `work` in a transaction. A caller that is cancelled does not stop it.

        Raises:
            SpireError: as `work` or the database does.
        """
        asked = _Asked(work, durable, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._running is None:
            self._start()
        return cast(T, await asked.outcome)

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
        self._running = asyncio.get_running_loop().run_in_executor(
            self._thread,
            self._transaction,
            [asked.work for asked in group],
            any(asked.durable for asked in group),
        )
        self._running.add_done_callback(partial(self._finish, group))

    def _finish(self, group: Sequence[_Asked], finished: asyncio.Future[list[Any]]) -> None:
        error = finished.exception()
        if error is None:
            for asked, result in zip(group, finished.result(), strict=True):
                if not asked.outcome.done():
                    asked.outcome.set_result(result)
        elif len(group) == 1 or isinstance(error, Unavailable):
            for asked in group:
                if not asked.outcome.done():
                    asked.outcome.set_exception(error)
        else:
            self._alone.extend(group)
        self._running = None
        if self._alone or self._waiting:
            self._start()
