"""Full load for a while: every body compared, and nothing left over in the end."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import SpireError
from spire_py.transport import Channel, Limits, Server, Service, client_context, server_context

from .certificates import Authority
from .echo import BIDI, COLLECT, ECHO, STREAM, UNARY, Echo, text, until

_SIZES = (0, 1, 100, 1200, 1200, 1200, 20_000, 300_000)
_CONNECTIONS = 6
_CALLERS = 8
_SHORT_CALLS = 25
_LONG_SECONDS = 300
_MAX_GROWTH_BYTES = 24 << 20


class Caller:
    """Makes calls of all kinds over one channel and compares what comes back."""

    def __init__(self, channel: Channel, seed: int) -> None:
        self._channel = channel
        self._choice = random.Random(seed)

    async def call(self) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._unary,
            self._unary,
            self._unary,
            self._stream,
            self._collect,
            self._bidi,
            self._give_up,
            self._fail,
        ]
        await self._choice.choice(kinds)()

    def _body(self) -> bytes:
        return self._choice.randbytes(self._choice.choice(_SIZES))

    async def _unary(self) -> None:
        body = b"=" + self._body().replace(b":", b";")
        answer = await self._channel.unary(UNARY, text(body), BytesValue, timeout=60)
        assert answer.value == body

    async def _stream(self) -> None:
        parts = [self._choice.randbytes(200).replace(b",", b".") for _ in range(20)]
        request = text(b"=" + b",".join(parts).replace(b":", b";"))
        expected = request.value.split(b",")
        async with self._channel.server_stream(STREAM, request, BytesValue, timeout=60) as answers:
            assert [answer.value async for answer in answers] == expected

    async def _collect(self) -> None:
        bodies = [self._body() for _ in range(5)]
        async with self._channel.bidi(COLLECT, BytesValue, timeout=60) as call:
            for body in bodies:
                await call.send(text(body))
            call.done_sending()
            assert [answer.value async for answer in call] == [b",".join(bodies)]

    async def _bidi(self) -> None:
        bodies = [b"=" + self._body() for _ in range(5)]
        async with self._channel.bidi(BIDI, BytesValue, timeout=60) as call:

            async def send() -> None:
                for body in bodies:
                    await call.send(text(body))
                call.done_sending()

            sending = asyncio.create_task(send())
            assert [answer.value async for answer in call] == bodies
            await sending

    async def _give_up(self) -> None:
        request = text("many:1000:1000")
        async with self._channel.server_stream(STREAM, request, BytesValue, timeout=60) as answers:
            async for _ in answers:
                if self._choice.random() < 0.3:
                    break

    async def _fail(self) -> None:
        with pytest.raises(SpireError, match="as asked"):
            await self._channel.unary(UNARY, text("error:9:as asked"), BytesValue, timeout=60)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Load:
    """A server with a Unix socket and a TLS port, and channels to both."""

    def __init__(self, server: Server, channels: list[Channel]) -> None:
        self.server = server
        self._callers = [
            Caller(channel, seed=100 * index + number)
            for index, channel in enumerate(channels)
            for number in range(_CALLERS)
        ]

    async def run(self, enough: Callable[[int], bool]) -> None:
        async def keep_calling(caller: Caller) -> None:
            made = 0
            while not enough(made):
                await caller.call()
                made += 1

        async with asyncio.TaskGroup() as tasks:
            for caller in self._callers:
                tasks.create_task(keep_calling(caller))


@pytest.fixture
async def load(socket_path: Path, authority: Authority) -> AsyncIterator[Load]:
    server_identity = authority.issue("spiffe://example.org/spire/server")
    agent = authority.issue("spiffe://example.org/spire/agent/a")
    tls = server_context(
        chain=[server_identity.certificate], key=server_identity.key, roots=[authority.root]
    )
    client = client_context(chain=[agent.certificate], key=agent.key, roots=[authority.root])
    server = Server([Service(ECHO, _Forgetful())], limits=Limits(concurrent_streams=20))
    await server.listen_unix(socket_path, mode=0o600, directory_mode=0o755)
    _, port = await server.listen_tcp(
        "127.0.0.1",
        0,
        tls=lambda: tls,
        verify_peer=lambda chain: chain[0],
        max_connection_age=timedelta(seconds=2),
    )
    channels = [
        Channel.unix(socket_path)
        if index % 2
        else Channel.tcp("127.0.0.1", port, tls=lambda: client, verify_peer=None)
        for index in range(_CONNECTIONS)
    ]
    yield Load(server, channels)
    for channel in channels:
        await channel.aclose()
    await until(lambda: not server.connections)
    await server.aclose()


class _Forgetful(Echo):
    """Keeps no contexts, which would look like a leak."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts = _Nothing()


class _Nothing(list):  # type: ignore[type-arg]
    def append(self, _: object) -> None:
        """Forget it."""


async def _settled(load: Load, tasks: int) -> None:
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert load.server.calls == 0


async def test_a_short_time_of_full_load(load: Load) -> None:
    tasks = len(asyncio.all_tasks())
    await load.run(lambda made: made >= _SHORT_CALLS)
    await _settled(load, tasks)
    gc.collect()
    files = _open_files()
    await load.run(lambda made: made >= _SHORT_CALLS)
    await _settled(load, tasks)
    gc.collect()
    assert _open_files() <= files + _CONNECTIONS  # reconnecting is under way


@pytest.mark.soak
@pytest.mark.timeout(_LONG_SECONDS * 3)
async def test_a_long_time_of_full_load(load: Load) -> None:
    tasks = len(asyncio.all_tasks())
    await load.run(lambda made: made >= 200)  # caches and arenas fill up first
    await _settled(load, tasks)
    gc.collect()
    files, memory = _open_files(), _resident_bytes()
    end = time.monotonic() + _LONG_SECONDS
    await load.run(lambda _: time.monotonic() >= end)
    await _settled(load, tasks)
    gc.collect()
    assert _open_files() <= files + _CONNECTIONS
    assert _resident_bytes() <= memory + _MAX_GROWTH_BYTES
