"""Hears from a server of ours that something changed, so that the next sync need not be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import NoReturn, Protocol

from spire_py._proto.spire_py import changes_pb2
from spire_py.errors import SpireError, Unimplemented
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

_FIRST_WAIT = timedelta(seconds=1)
_LAST_WAIT = timedelta(minutes=2)
_ASK_AGAIN = timedelta(minutes=10)
"""A server that does not offer the service may be replaced by one that does."""


class ChangeSource(Protocol):
    """What the listener needs of the server."""

    def watch_changes(self) -> AbstractAsyncContextManager[AsyncIterator[changes_pb2.Change]]: ...


class ChangeListener:
    """Sets `changes` each time the server says that a sync would bring something new.

    It is a hint and nothing more: without it the agent polls as SPIRE's agents do.
    """

    def __init__(self, *, source: ChangeSource, changes: Watch[None], clock: Clock) -> None:
        self._source = source
        self._changes = changes
        self._clock = clock
        self._backoff = Backoff(initial=_FIRST_WAIT, maximum=_LAST_WAIT, multiplier=2)

    async def run(self) -> NoReturn:
        """Listen until cancelled."""
        while True:
            try:
                async with self._source.watch_changes() as messages:
                    async for _ in messages:
                        self._backoff.reset()
                        self._changes.set(None)
            except Unimplemented:
                await self._clock.sleep(_ASK_AGAIN)
            except SpireError as error:
                # The sync meets the same trouble and deals with it.
                log.debug("change_stream_ended", error=str(error))
                await self._clock.sleep(self._backoff.next())
            else:
                await self._clock.sleep(self._backoff.next())
