"""The tasks of calls and handshakes, which begin and end with what a peer does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


class TaskSet:
    """Keeps the tasks of calls alive; a loop alone holds them weakly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work`; from Python 3.12 on it runs to its first wait before this returns."""
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            task = asyncio.Task(work, loop=loop, eager_start=True)
        else:
            task = loop.create_task(work)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait(self, seconds: float) -> None:
        """Wait for those that run now, at most `seconds`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=seconds)

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
