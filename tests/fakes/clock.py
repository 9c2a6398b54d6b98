"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)

_TURNS = 50
"""Turns of the event loop given to whoever was woken, before time moves on."""


class FakeClock:
    """A `Clock` for tests.

    `advance` wakes sleepers one after the other, each at its own time, and lets it run until it
    waits again, as far as it uses no thread: after threads, `await clock.sleepers(n)` first.
    """

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sequence = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._fell_asleep = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, duration: timedelta) -> None:
        if duration <= timedelta():
            await asyncio.sleep(0)
            return
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self._monotonic + duration.total_seconds()
        heapq.heappush(self._sleepers, (due, next(self._sequence), awake))
        self._fell_asleep.set()
        await awake

    async def advance(self, duration: timedelta) -> None:
        """Let `duration` pass."""
        await _let_others_run()
        end = self._monotonic + duration.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, awake = heapq.heappop(self._sleepers)
            if awake.done():
                continue
            self._move_to(due)
            awake.set_result(None)
            await _let_others_run()
        self._move_to(end)

    def jump(self, duration: timedelta) -> None:
        """Set the wall clock forward, or back, without any time passing."""
        self._now += duration

    async def sleepers(self, count: int = 1, *, timeout_seconds: float = 20) -> None:
        """Wait, in real time, until at least `count` tasks sleep."""
        async with asyncio.timeout(timeout_seconds):
            while sum(not awake.done() for _, _, awake in self._sleepers) < count:
                self._fell_asleep.clear()
                await self._fell_asleep.wait()

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic


async def _let_others_run() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
