"""Our client with a foreign server (grpcio) and with our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import (
    Canceled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    ResourceExhausted,
    SpireError,
    Unavailable,
    Unimplemented,
)
from spire_py.transport import Channel, Limits
from spire_py.transport.headers import encode_headers

from .echo import BIDI, COLLECT, STREAM, UNARY, Echo, refused, serving, text, until
from .raw import (
    GOAWAY,
    HEADERS,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    frame,
    scripted_server,
)


class ForeignEcho:
    """The echo service on grpcio."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.cancelled = asyncio.Event()

    async def unary(self, request: BytesValue, context: grpc.aio.ServicerContext) -> BytesValue:
        self.seen.append(dict(context.invocation_metadata() or ()))
        if request.value == b"missing":
            await context.abort(grpc.StatusCode.NOT_FOUND, "nö such % thing\n")
        if request.value == b"hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.value.startswith(b"size:"):
            return BytesValue(value=b"x" * int(request.value[5:]))
        return request

    async def server_stream(
        self, request: BytesValue, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[BytesValue]:
        for part in request.value.split(b","):
            yield BytesValue(value=part)

    async def client_stream(
        self, requests: AsyncIterator[BytesValue], context: grpc.aio.ServicerContext
    ) -> BytesValue:
        return BytesValue(value=b",".join([request.value async for request in requests]))

    async def bidi(
        self, requests: AsyncIterator[BytesValue], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[BytesValue]:
        async for request in requests:
            if request.value == b"stop":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "stopped")
            yield request


def _handlers(echo: ForeignEcho) -> grpc.GenericRpcHandler:
    codec: dict[str, Callable[..., Any]] = {
        "request_deserializer": BytesValue.FromString,
        "response_serializer": BytesValue.SerializeToString,
    }
    return grpc.method_handlers_generic_handler(
        "test.Echo",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(echo.unary, **codec),
            "ServerStream": grpc.unary_stream_rpc_method_handler(echo.server_stream, **codec),
            "ClientStream": grpc.stream_unary_rpc_method_handler(echo.client_stream, **codec),
            "Bidi": grpc.stream_stream_rpc_method_handler(echo.bidi, **codec),
        },
    )


@pytest.fixture
def foreign_echo() -> ForeignEcho:
    return ForeignEcho()


@pytest.fixture(params=["plain", "gzip"])
async def foreign(
    request: pytest.FixtureRequest, socket_path: Path, foreign_echo: ForeignEcho
) -> AsyncIterator[Channel]:
    """A channel to a server of grpcio."""
    gzip = grpc.Compression.Gzip if request.param == "gzip" else None
    server = grpc.aio.server(compression=gzip)
    server.add_generic_rpc_handlers((_handlers(foreign_echo),))
    server.add_insecure_port(f"unix:{socket_path}")
    await server.start()
    channel = Channel.unix(socket_path)
    yield channel
    await channel.aclose()
    await server.stop(None)


@pytest.fixture
async def channel(socket_path: Path) -> AsyncIterator[Channel]:
    channel = Channel.unix(socket_path)
    yield channel
    await channel.aclose()


async def _gather(messages: AsyncIterator[BytesValue], received: list[bytes]) -> None:
    async for message in messages:
        received.append(message.value)  # noqa: PERF401 - what came before an error counts


async def _exhaust(messages: AsyncIterator[BytesValue]) -> None:
    async for _ in messages:
        pass


async def call(channel: Channel, value: bytes | str, timeout: float | None = 30) -> bytes:
    return (await channel.unary(UNARY, text(value), BytesValue, timeout=timeout)).value


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 100_000, 3_900_000])
async def test_bodies_come_back_whole(foreign: Channel, size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    assert await call(foreign, body) == body


async def test_streams_of_all_kinds(foreign: Channel) -> None:
    async with foreign.server_stream(STREAM, text("a,b,,c"), BytesValue) as messages:
        assert [message.value async for message in messages] == [b"a", b"b", b"", b"c"]

    async with foreign.bidi(COLLECT, BytesValue) as collect:
        for part in ("x", "", "y" * 100_000):
            await collect.send(text(part))
        collect.done_sending()
        assert [message.value async for message in collect] == [b"x,," + b"y" * 100_000]

    async with foreign.bidi(BIDI, BytesValue) as both:
        for part in (b"1", b"2"):
            await both.send(text(part))
            assert (await anext(both)).value == part  # type: ignore[arg-type]
        both.done_sending()
        assert [message async for message in both] == []


async def test_a_status_raises_its_error(foreign: Channel) -> None:
    error = await refused(call(foreign, "missing"))
    assert isinstance(error, NotFound)
    assert error.message == "nö such % thing\n"
    async with foreign.bidi(BIDI, BytesValue) as both:
        await both.send(text("stop"))
        with pytest.raises(FailedPrecondition, match="stopped"):
            await anext(both)  # type: ignore[arg-type]
    unknown = foreign.unary("/test.Echo/Nope", text(""), BytesValue, timeout=30)
    assert isinstance(await refused(unknown), Unimplemented)


async def test_messages_before_an_error_are_given_out(foreign: Channel) -> None:
    async with foreign.bidi(BIDI, BytesValue) as both:
        for part in ("a", "b", "stop"):
            await both.send(text(part))
        both.done_sending()
        received: list[bytes] = []
        with pytest.raises(FailedPrecondition, match="stopped"):
            await _gather(both, received)
    assert received == [b"a", b"b"]


async def test_streams_left_early_leave_nothing_behind(socket_path: Path) -> None:
    """What was received and not taken is let go: many such calls fit into a small bound."""
    channel = Channel.unix(socket_path, limits=Limits(buffered_bytes=300_000))
    async with serving(socket_path):
        for _ in range(100):
            async with channel.server_stream(STREAM, text("many:3:9000"), BytesValue) as messages:
                await anext(messages)
            error = channel.unary(UNARY, text("error:5:gone"), BytesValue, timeout=30)
            assert isinstance(await refused(error), NotFound)
        assert await call(channel, "x" * 100_000) == b"x" * 100_000
    await channel.aclose()


async def test_metadata_and_the_deadline_go_along(
    foreign: Channel, foreign_echo: ForeignEcho
) -> None:
    pairs = (("workload.spiffe.io", "true"), ("x-bin", b"\x00\xff"))
    await foreign.unary(UNARY, text("x"), BytesValue, timeout=30, metadata=pairs)
    assert foreign_echo.seen[0]["workload.spiffe.io"] == "true"
    assert foreign_echo.seen[0]["x-bin"] == b"\x00\xff"


async def test_a_call_without_an_answer_ends_in_time_and_is_cancelled(
    foreign: Channel, foreign_echo: ForeignEcho
) -> None:
    assert isinstance(await refused(call(foreign, "hang", timeout=0.2)), DeadlineExceeded)
    await asyncio.wait_for(foreign_echo.cancelled.wait(), 20)


async def test_a_cancelled_caller_cancels_the_call(
    foreign: Channel, foreign_echo: ForeignEcho
) -> None:
    task = asyncio.create_task(call(foreign, "hang"))
    await until(lambda: bool(foreign_echo.seen))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(foreign_echo.cancelled.wait(), 20)


async def test_an_answer_that_is_too_large_is_refused(foreign: Channel) -> None:
    assert isinstance(await refused(call(foreign, "size:5000000")), ResourceExhausted)
    assert await call(foreign, "still there") == b"still there"


async def test_many_calls_share_one_connection(socket_path: Path, channel: Channel) -> None:
    async with serving(socket_path) as server:
        bodies = [b"%d" % index * (index % 3000) for index in range(500)]
        assert await asyncio.gather(*(call(channel, body) for body in bodies)) == bodies
        assert server.connections == 1


async def test_calls_beyond_the_servers_limit_wait_their_turn(
    socket_path: Path, channel: Channel
) -> None:
    async with serving(socket_path, limits=Limits(concurrent_streams=3)):
        answers = await asyncio.gather(*(call(channel, str(index)) for index in range(50)))
    assert answers == [b"%d" % index for index in range(50)]


async def test_a_missing_server_is_unavailable(channel: Channel, socket_path: Path) -> None:
    error = await refused(call(channel, "x"))
    assert isinstance(error, Unavailable)
    assert error.message == (
        'connection error: desc = "transport: Error while dialing: '
        f'dial unix {socket_path}: connect: no such file or directory"'
    )


async def test_the_channel_connects_again_after_the_server_came_back(
    socket_path: Path, channel: Channel
) -> None:
    for _ in range(3):
        async with serving(socket_path):
            assert await call(channel, "x") == b"x"
        assert isinstance(await refused(call(channel, "x")), Unavailable)


async def test_a_server_that_dies_in_mid_call_is_unavailable(
    socket_path: Path, channel: Channel
) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        task = asyncio.create_task(refused(call(channel, "hang")))
        await asyncio.wait_for(echo.started.wait(), 20)
    assert isinstance(await task, Unavailable)


async def test_a_server_that_says_nothing_does_not_hold_a_call_up(
    socket_path: Path, channel: Channel
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(socket_path))
        silent.listen()
        assert isinstance(await refused(call(channel, "x", timeout=0.1)), DeadlineExceeded)


async def test_connecting_has_an_end_without_a_deadline_too(socket_path: Path) -> None:
    channel = Channel.unix(socket_path, limits=Limits(handshake_timeout=0.1))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(socket_path))
        silent.listen()
        assert isinstance(await refused(call(channel, "x", timeout=None)), Unavailable)
    await channel.aclose()


async def test_one_caller_giving_up_does_not_disturb_the_others(
    socket_path: Path, channel: Channel
) -> None:
    async with serving(socket_path):
        impatient = asyncio.create_task(refused(call(channel, "x", timeout=0.0)))
        patient = asyncio.create_task(call(channel, "y"))
        assert isinstance(await impatient, DeadlineExceeded)
        assert await patient == b"y"


async def test_leaving_a_stream_early_cancels_it(socket_path: Path, channel: Channel) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        async with channel.server_stream(STREAM, text("hang"), BytesValue) as messages:
            assert (await anext(messages)).value == b"first"
        await asyncio.wait_for(echo.cancelled.wait(), 20)


async def test_a_stream_has_its_deadline(socket_path: Path, channel: Channel) -> None:
    async with (
        serving(socket_path),
        channel.server_stream(STREAM, text("hang"), BytesValue, timeout=0.2) as messages,
    ):
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(_exhaust(messages), 30)


async def test_a_closed_channel_ends_its_calls_and_takes_no_more(
    socket_path: Path, channel: Channel
) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        task = asyncio.create_task(refused(call(channel, "hang")))
        await asyncio.wait_for(echo.started.wait(), 20)
        await channel.aclose()
        assert isinstance(await task, (Unavailable, Canceled))
        assert isinstance(await refused(call(channel, "x")), Unavailable)


async def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from spire_py.transport import Server, Service

    from .echo import ECHO

    server = Server([Service(ECHO, Echo())])
    _, port = await server.listen_tcp(
        "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=None
    )

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host != "server.test":
            raise socket.gaierror
        found = [("127.9.9.9", port), ("127.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for _ in range(3):
        channel = Channel.tcp("server.test", port, tls=None, verify_peer=None)
        assert await call(channel, "x") == b"x"
        await channel.aclose()
    unknown = Channel.tcp("nowhere.test", port, tls=None, verify_peer=None)
    assert isinstance(await refused(call(unknown, "x")), Unavailable)
    await unknown.aclose()
    await server.aclose()


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("bad name", "x"), id="name"),
        pytest.param(("x", "line\nbreak"), id="value"),
        pytest.param(("x-bin", "text"), id="text in a binary header"),
        pytest.param(("x", b"bytes"), id="bytes in a text header"),
        pytest.param(("grpc-status", "0"), id="reserved"),
    ],
)
async def test_metadata_that_cannot_be_sent_is_refused(
    channel: Channel, pair: tuple[str, str | bytes]
) -> None:
    with pytest.raises(SpireError, match="cannot be sent") as caught:
        await channel.unary(UNARY, text(""), BytesValue, timeout=1, metadata=[pair])
    assert isinstance(caught.value, Internal)


async def test_a_server_that_falls_silent_is_given_up(socket_path: Path) -> None:
    """It shook hands, and then nothing: without a deadline only keepalive ends the call."""

    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS))
        await reader.read()

    async with scripted_server(socket_path, fall_silent):
        channel = Channel.unix(
            socket_path, limits=Limits(keepalive_interval=0.1, keepalive_timeout=0.1)
        )
        assert isinstance(await refused(call(channel, "x", timeout=None)), Unavailable)
        await channel.aclose()


async def test_a_server_that_closes_each_connection_is_not_tried_for_ever(
    socket_path: Path, channel: Channel
) -> None:
    connections = 0

    async def say_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(frame(SETTINGS) + frame(GOAWAY, payload=bytes(8)))
        await reader.read()

    async with scripted_server(socket_path, say_goodbye):
        assert isinstance(await refused(call(channel, "x", timeout=None)), Unavailable)
        await channel.aclose()
    assert connections == 3


async def test_a_call_that_the_server_refused_is_made_again(
    socket_path: Path, channel: Channel
) -> None:
    """REFUSED_STREAM says that nothing was done; the second try is answered."""
    tries = 0
    fields = ((b":status", b"200"), (b"content-type", b"application/grpc"))
    answer = encode_headers([*fields, (b"grpc-status", b"5")])

    async def refuse_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        writer.write(frame(SETTINGS))
        await reader.readexactly(len(PREFACE))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3]))
            if head[3] != HEADERS:
                continue
            tries += 1
            stream = int.from_bytes(head[5:])
            refusal = frame(RST_STREAM, 0, stream, REFUSED_STREAM.to_bytes(4))
            writer.write(refusal if tries == 1 else frame(HEADERS, 0x5, stream, answer))

    async with scripted_server(socket_path, refuse_first):
        assert isinstance(await refused(call(channel, "x")), NotFound)
        await channel.aclose()
    assert tries == 2
