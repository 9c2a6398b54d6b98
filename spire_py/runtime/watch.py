"""The latest value of something, for any number of waiters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Watch(Generic[T]):
    """Holds a value and wakes those who wait for the next one.

    A slow reader sees the latest value, not each one in between: there is no queue that can grow.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        return self._value

    @property
    def version(self) -> int:
        """How many times the value was set."""
        return self._version

    def set(self, value: T) -> None:
        """Replace the value and wake all waiters."""
        self._value = value
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_beyond(self, version: int) -> tuple[int, T]:
        """The version and value, as soon as the version is higher than `version`."""
        while self._version <= version:
            await self._changed.wait()
        return self._version, self._value

    async def __aiter__(self) -> AsyncIterator[T]:
        """The value at once, then the latest one after each change, for ever."""
        version = -1
        while True:
            version, value = await self.wait_beyond(version)
            yield value
