from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from spire_py._proto.spire_py import changes_pb2
from spire_py.agent.change_listener import ChangeListener
from spire_py.errors import SpireError, Unavailable, Unimplemented
from spire_py.runtime.watch import Watch
from tests.fakes.clock import FakeClock


class Server:
    """Answers each call with the next of `streams`: a number of messages, or an error."""

    def __init__(self, streams: Sequence[int | SpireError]) -> None:
        self._streams = list(streams)
        self.calls = Watch(0)

    @asynccontextmanager
    async def watch_changes(self) -> AsyncIterator[AsyncIterator[changes_pb2.Change]]:
        self.calls.set(self.calls.value + 1)
        stream = self._streams.pop(0) if self._streams else None
        if isinstance(stream, SpireError):
            raise stream
        yield self._messages(stream)

    async def _messages(self, count: int | None) -> AsyncIterator[changes_pb2.Change]:
        for _ in range(count or 0):
            yield changes_pb2.Change()
        if count is None:
            await asyncio.Event().wait()


async def _listen(server: Server, clock: FakeClock, changes: Watch[None]) -> asyncio.Task[None]:
    listener = ChangeListener(source=server, changes=changes, clock=clock)
    task: asyncio.Task[None] = asyncio.ensure_future(listener.run())
    await server.calls.wait_beyond(0)
    return task


async def test_each_message_sets_the_watch() -> None:
    changes: Watch[None] = Watch(None)
    task = await _listen(Server([2]), FakeClock(), changes)
    version, _ = await changes.wait_beyond(1)
    task.cancel()
    assert version == 2


async def test_a_stream_that_ends_is_opened_again() -> None:
    clock = FakeClock()
    server = Server([0, Unavailable("away")])
    task = await _listen(server, clock, Watch(None))
    for calls in (1, 2):
        await server.calls.wait_beyond(calls - 1)
        await clock.advance(timedelta(seconds=10))
    await server.calls.wait_beyond(2)
    task.cancel()
    assert server.calls.value == 3


async def test_a_server_without_the_service_is_asked_again_only_after_ten_minutes() -> None:
    clock = FakeClock()
    server = Server([Unimplemented("unknown service")])
    task = await _listen(server, clock, Watch(None))
    await clock.advance(timedelta(minutes=9))
    assert server.calls.value == 1
    await clock.advance(timedelta(minutes=2))
    await server.calls.wait_beyond(1)
    task.cancel()
