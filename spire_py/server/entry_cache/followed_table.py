"""One table of the database in memory, kept current by the events about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from spire_py.runtime.clock import Clock
from spire_py.server.entry_cache.events import EventFollower

T = TypeVar("T")

_EVENTS_BEFORE_START = 1000
_READ_AT_ONCE = 500


class FollowedTable(Generic[T]):
    """Reads what the events name, and puts it where it belongs.

    Args:
        latest: the highest event ID.
        events: the events above an ID, each with the name of what it is about.
        load_all: everything, as one state of the database.
        get: what has these names, as far as it exists.
        name: of a thing.
        put: takes a thing in.
        remove: drops what has this name, if it is there.
        present: the names of all that was taken in.
        patience: how long a transaction may stay open.
        clock: measures that.
    """

    def __init__(
        self,
        *,
        latest: Callable[[], Awaitable[int]],
        events: Callable[[int], Awaitable[Sequence[tuple[int, str]]]],
        load_all: Callable[[], Awaitable[Iterable[T]]],
        get: Callable[[Collection[str]], Awaitable[Iterable[T]]],
        name: Callable[[T], str],
        put: Callable[[T], None],
        remove: Callable[[str], None],
        present: Callable[[], Iterable[str]],
        patience: timedelta,
        clock: Clock,
    ) -> None:
        self._latest = latest
        self._events = events
        self._load_all = load_all
        self._get = get
        self._name = name
        self._put = put
        self._remove = remove
        self._present = present
        self._patience = patience
        self._clock = clock
        self._follower: EventFollower | None = None
        self._unread: set[str] = set()
        self._written: set[str] = set()
        self._lock = asyncio.Lock()
        self.polls_begun = 0
        """How many polls were begun. What was committed before one began, it has seen."""
        self._polls_done = 0

    def written(self, name: str) -> None:
        """This server wrote the thing itself: what a running read saw of it may be older."""
        self._written.add(name)

    async def load(self) -> None:
        """Take in the whole table, and follow it from here.

        The newest events are noted first, so that whatever is committed while the table is read
        comes again as an event.
        """
        async with self._lock:
            latest = await self._latest()
            newest = await self._events(max(0, latest - _EVENTS_BEFORE_START))
            self._follower = EventFollower(
                [event_id for event_id, _ in newest],
                now=self._clock.monotonic(),
                patience=self._patience,
            )
            await self._reload()

    async def reload(self) -> None:
        """Take in the whole table again; the events go on from where they are."""
        async with self._lock:
            await self._reload()

    async def reread(self, names: Iterable[str]) -> None:
        """Take in what has these names, as it is now."""
        async with self._lock:
            self._unread.update(names)
            await self._read()

    async def poll(self) -> None:
        """At the end, all that was committed before the call is in memory.

        Those who ask while a poll runs share the next one.
        """
        wanted = self.polls_begun + 1
        async with self._lock:
            if self._polls_done >= wanted:
                return
            self.polls_begun += 1
            number = self.polls_begun
            await self._poll()
            self._polls_done = number

    async def _poll(self) -> None:
        follower = self._follower
        if follower is None:
            raise RuntimeError("a table is followed from its load on")
        now = self._clock.monotonic()
        self._unread |= follower.take(await self._events(follower.read_after(now)), now=now)
        if follower.overflowed:
            await self._reload()
            follower.overflowed = False
        await self._read()

    async def _reload(self) -> None:
        self._written.clear()
        loaded = {self._name(item): item for item in await self._load_all()}
        for name in set(self._present()) - loaded.keys() - self._written:
            self._remove(name)
        for name, item in loaded.items():
            if name not in self._written:
                self._put(item)

    async def _read(self) -> None:
        """Read what events named, with what could not be read before."""
        while self._unread:
            batch = [name for name, _ in zip(self._unread, range(_READ_AT_ONCE), strict=False)]
            self._written.clear()
            found = {self._name(item): item for item in await self._get(batch)}
            for name in batch:
                if name in self._written:
                    continue
                if (item := found.get(name)) is None:
                    self._remove(name)
                else:
                    self._put(item)
            self._unread.difference_update(batch)
