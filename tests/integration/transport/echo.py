"""A service with an RPC of each kind, and a server that offers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import SpireError, StatusCode, error_for_status
from spire_py.transport import CallContext, Server, Service

UNARY = "/test.Echo/Unary"
STREAM = "/test.Echo/ServerStream"
COLLECT = "/test.Echo/ClientStream"
BIDI = "/test.Echo/Bidi"


def _descriptor() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="test/echo.proto",
        package="test",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="Echo")
    for name, client, server in (
        ("Unary", False, False),
        ("ServerStream", False, True),
        ("ClientStream", True, False),
        ("Bidi", True, True),
        ("NotThere", False, False),
    ):
        service.method.add(
            name=name,
            input_type=".google.protobuf.BytesValue",
            output_type=".google.protobuf.BytesValue",
            client_streaming=client,
            server_streaming=server,
        )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return pool.FindServiceByName("test.Echo")


ECHO = _descriptor()


class Echo:
    """Sends back what it gets. Some requests make it behave badly.

    Attributes:
        started: set when a call that hangs has begun.
        cancelled: set when such a call was cancelled.
        produced: how many messages `ServerStream` has handed over.
    """

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.produced = 0
        self.taken = 0
        self.contexts: list[CallContext] = []

    async def unary(self, request: BytesValue, context: CallContext) -> BytesValue | bytes:
        self.contexts.append(context)
        match request.value.split(b":"):
            case [b"error", code, text]:
                raise error_for_status(int(code), text.decode())
            case [b"bug"]:
                raise ValueError("the secret inside")
            case [b"hang"]:
                await self._hang()
            case [b"wait"]:
                self.started.set()
                await self.release.wait()
            case [b"size", size]:
                return BytesValue(value=b"x" * int(size))
            case [b"encoded"]:
                return BytesValue(value=b"by hand").SerializeToString()
            case [b"trailing"]:
                context.set_trailing_metadata(("x-note", "hello"), ("x-raw-bin", b"\x00\xff"))
            case _:
                pass
        return request

    async def server_stream(
        self, request: BytesValue, context: CallContext
    ) -> AsyncIterator[BytesValue]:
        self.contexts.append(context)
        match request.value.split(b":"):
            case [b"hang"]:
                yield BytesValue(value=b"first")
                await self._hang()
            case [b"many", count, size]:
                for index in range(int(count)):
                    self.produced += 1
                    yield BytesValue(value=index.to_bytes(4, "big") + b"x" * int(size))
            case _:
                for part in request.value.split(b","):
                    yield BytesValue(value=part)

    async def client_stream(
        self, requests: AsyncIterator[BytesValue], context: CallContext
    ) -> BytesValue:
        return BytesValue(value=b",".join([request.value async for request in requests]))

    async def bidi(
        self, requests: AsyncIterator[BytesValue], context: CallContext
    ) -> AsyncIterator[BytesValue]:
        async for request in requests:
            if request.value == b"stop":
                raise error_for_status(StatusCode.FAILED_PRECONDITION, "stopped")
            if request.value == b"hold":
                self.started.set()
                await self.release.wait()
            self.taken += 1
            yield request

    async def _hang(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Outcomes:
    """What `observe` was told."""

    def __init__(self) -> None:
        self.codes: list[StatusCode] = []
        self._changed = asyncio.Event()

    def __call__(self, context: CallContext, code: StatusCode, seconds: float) -> None:
        assert seconds >= 0
        self.codes.append(code)
        self._changed.set()

    async def wait(self, count: int) -> list[StatusCode]:
        async with asyncio.timeout(20):
            while len(self.codes) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.codes


@asynccontextmanager
async def serving(
    path: Path, echo: Echo | None = None, grace: float = 0.0, **options: Any
) -> AsyncIterator[Server]:
    """A server with the echo service at a Unix socket."""
    server = Server([Service(ECHO, echo or Echo())], **options)
    await server.listen_unix(path, mode=0o600, directory_mode=0o755)
    try:
        yield server
    finally:
        await server.aclose(timedelta(seconds=grace))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so, for twenty seconds at most."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


async def refused(call: Any) -> SpireError:
    """The error that a call ends with."""
    try:
        async with asyncio.timeout(30):
            await call
    except SpireError as error:
        return error
    raise AssertionError("the call was answered")


def text(value: bytes | str) -> BytesValue:
    return BytesValue(value=value.encode() if isinstance(value, str) else value)
