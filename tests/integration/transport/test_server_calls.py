"""Our server with a foreign client (grpcio)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py._proto.google.rpc.status_pb2 import Status
from spire_py.errors import PermissionDenied, StatusCode
from spire_py.transport import CallContext, Limits

from .echo import BIDI, COLLECT, STREAM, UNARY, Echo, Outcomes, serving, text

OPTIONS = [("grpc.max_receive_message_length", -1)]


def _codec() -> dict[str, object]:
    return {
        "request_serializer": BytesValue.SerializeToString,
        "response_deserializer": BytesValue.FromString,
    }


@pytest.fixture
async def channel(socket_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{socket_path}", options=OPTIONS) as channel:
        yield channel


def unary(channel: grpc.aio.Channel, method: str = UNARY):
    return channel.unary_unary(method, **_codec())


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(1, id="one byte"),
        pytest.param(16_384, id="more than a frame"),
        pytest.param(70_000, id="more than the first window"),
        pytest.param(4_000_000, id="nearly the limit"),
    ],
)
async def test_a_body_of_any_size_comes_back_whole(
    socket_path: Path, channel: grpc.aio.Channel, size: int
) -> None:
    body = bytes(index * 7 % 251 for index in range(1000)) * (size // 1000) + b"e" * (size % 1000)
    async with serving(socket_path):
        assert (await unary(channel)(text(body), timeout=30)).value == body


async def test_an_encoded_answer_is_sent_as_it_is(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path):
        assert (await unary(channel)(text("encoded"), timeout=30)).value == b"by hand"


async def test_streams_of_all_kinds(socket_path: Path, channel: grpc.aio.Channel) -> None:
    async with serving(socket_path):
        stream = channel.unary_stream(STREAM, **_codec())(text("a,b,c"), timeout=30)
        assert [message.value async for message in stream] == [b"a", b"b", b"c"]

        requests = [text("1"), text(""), text("3")]
        collect = channel.stream_unary(COLLECT, **_codec())
        assert (await collect(iter(requests), timeout=30)).value == b"1,,3"

        both = channel.stream_stream(BIDI, **_codec())(iter(requests), timeout=30)
        assert [message.value async for message in both] == [b"1", b"", b"3"]


async def test_a_stream_of_large_messages_keeps_order(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path):
        stream = channel.unary_stream(STREAM, **_codec())(text("many:100:50000"), timeout=60)
        received = [message.value async for message in stream]
    assert [int.from_bytes(value[:4], "big") for value in received] == list(range(100))
    assert {len(value) for value in received} == {50_004}


@pytest.mark.parametrize(
    "code",
    [code for code in StatusCode if code not in (0, 1, 2, 4, 10, 11, 15)],
    ids=lambda code: code.camel,
)
async def test_an_error_becomes_its_status(
    socket_path: Path, channel: grpc.aio.Channel, code: StatusCode
) -> None:
    outcomes = Outcomes()
    async with serving(socket_path, observe=outcomes):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text(f"error:{int(code)}:nö 100 % \n of it"), timeout=30)
    assert caught.value.code().value[0] == code
    assert caught.value.details() == "nö 100 % \n of it"
    assert outcomes.codes == [code]


async def test_details_of_an_error_arrive_as_a_status_message(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    detail = AnyMessage(type_url="type.googleapis.com/x.Y", value=b"\x08\x01")

    async def refuse(context: CallContext) -> None:
        raise PermissionDenied("no", details=(detail.SerializeToString(),))

    async with serving(socket_path, authorize=refuse):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text("x"), timeout=30)
    trailing = dict(caught.value.trailing_metadata() or ())
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message, list(status.details)) == (7, "no", [detail])


async def test_authorize_runs_before_the_handler(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    echo = Echo()
    seen: list[tuple[str, list[str]]] = []

    async def authorize(context: CallContext) -> None:
        seen.append((context.method, context.metadata.get_all("x-caller")))
        context.values["caller"] = "me"

    async with serving(socket_path, echo, authorize=authorize):
        await unary(channel)(text("x"), timeout=30, metadata=(("x-caller", "a"), ("x-caller", "b")))
    assert seen == [(UNARY, ["a", "b"])]
    assert echo.contexts[0].values == {"caller": "me"}


async def test_a_bug_is_internal_and_keeps_its_text(
    socket_path: Path, channel: grpc.aio.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(socket_path):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text("bug"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")
    output = capfd.readouterr()
    assert "ValueError" in output.err + output.out  # the log has the traceback


@pytest.mark.parametrize(
    ("method", "message"),
    [
        pytest.param("/test.Echo/NotThere", "method NotThere not implemented", id="no handler"),
        pytest.param("/test.Echo/Nope", "unknown method Nope for service test.Echo", id="method"),
        pytest.param("/no.Such/Thing", "unknown service no.Such", id="service"),
    ],
)
async def test_what_is_not_offered_is_unimplemented(
    socket_path: Path, channel: grpc.aio.Channel, method: str, message: str
) -> None:
    async with serving(socket_path):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel, method)(text("x"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == message


async def test_trailing_metadata_arrives(socket_path: Path, channel: grpc.aio.Channel) -> None:
    async with serving(socket_path):
        call = unary(channel)(text("trailing"), timeout=30)
        await call
        trailing = dict(await call.trailing_metadata())
    assert trailing["x-note"] == "hello"
    assert trailing["x-raw-bin"] == b"\x00\xff"


async def test_metadata_of_the_caller_is_readable(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    echo = Echo()
    metadata = (("workload.spiffe.io", "true"), ("x-bin", b"\x01\xfe"))
    async with serving(socket_path, echo):
        await unary(channel)(text("x"), timeout=30, metadata=metadata)
    context = echo.contexts[0]
    assert context.metadata.get_all("workload.spiffe.io") == ["true"]
    assert context.metadata.get("absent") is None
    assert context.metadata.get_binary("x-bin") == [b"\x01\xfe"]
    assert 0 < (context.time_remaining() or 0) <= 31
    assert context.peer.address == "@"


async def test_the_deadline_ends_a_call_and_its_handler(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    echo = Echo()
    outcomes = Outcomes()
    async with serving(socket_path, echo, observe=outcomes):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text("hang"), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(echo.cancelled.wait(), 20)
    assert outcomes.codes[0] in (StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED)


async def test_a_client_that_cancels_ends_the_handler(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    echo = Echo()
    outcomes = Outcomes()
    async with serving(socket_path, echo, observe=outcomes):
        stream = channel.unary_stream(STREAM, **_codec())(text("hang"))
        await stream.read()
        stream.cancel()
        await asyncio.wait_for(echo.cancelled.wait(), 20)
        assert await outcomes.wait(1) == [StatusCode.CANCELLED]


async def test_a_client_that_goes_away_ends_the_handler(socket_path: Path) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
            stream = channel.unary_stream(STREAM, **_codec())(text("hang"))
            await stream.read()
        await asyncio.wait_for(echo.cancelled.wait(), 20)


async def test_an_error_in_mid_stream_comes_after_the_messages(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path):
        call = channel.stream_stream(BIDI, **_codec())(iter([text("a"), text("stop")]), timeout=30)
        assert (await call.read()).value == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_request_that_is_too_large_is_refused(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path, limits=Limits(message_bytes=1000)):
        assert (await unary(channel)(text(b"x" * 900), timeout=30)).value == b"x" * 900
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text(b"x" * 1001), timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "grpc: received message larger than max (1004 vs. 1000)"


async def test_a_request_that_is_no_message_is_internal(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(UNARY)(b"\xff\xff\xff", timeout=30)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_gzip_requests_are_read(socket_path: Path) -> None:
    async with (
        serving(socket_path),
        grpc.aio.insecure_channel(
            f"unix:{socket_path}", compression=grpc.Compression.Gzip
        ) as channel,
    ):
        body = b"again and again " * 10_000
        assert (await unary(channel)(text(body), timeout=30)).value == body


async def test_a_gzip_bomb_is_refused(socket_path: Path) -> None:
    async with (
        serving(socket_path),
        grpc.aio.insecure_channel(
            f"unix:{socket_path}", compression=grpc.Compression.Gzip
        ) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text(b"\0" * (5 << 20)), timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "after decompression" in (caught.value.details() or "")


async def test_deflate_is_unimplemented(socket_path: Path) -> None:
    async with (
        serving(socket_path),
        grpc.aio.insecure_channel(
            f"unix:{socket_path}", compression=grpc.Compression.Deflate
        ) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text(b"again and again " * 100), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_answers_are_compressed_where_the_configuration_says_so(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path, limits=Limits(compress_responses=True)):
        call = unary(channel)(text("size:100000"), timeout=30)
        assert (await call).value == b"x" * 100_000
        stream = channel.unary_stream(STREAM, **_codec())(text("many:3:5000"), timeout=30)
        assert [len(message.value) async for message in stream] == [5004] * 3


async def test_many_calls_at_once_over_one_connection(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async with serving(socket_path) as server:
        bodies = [b"%d" % index * (index % 3000) for index in range(400)]
        answers = await asyncio.gather(*(unary(channel)(text(body), timeout=60) for body in bodies))
        assert [answer.value for answer in answers] == bodies
        assert server.connections == 1


async def test_metadata_that_cannot_be_sent_is_a_bug_and_not_a_call_without_end(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async def misuse(context: CallContext) -> None:
        context.set_trailing_metadata(("x-note", "two\nlines"))

    async with serving(socket_path, authorize=misuse):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text("x"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_broken_details_do_not_keep_the_status_back(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    async def refuse(context: CallContext) -> None:
        raise PermissionDenied("no", details=(b"\xff\xff",))

    async with serving(socket_path, authorize=refuse):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(text("x"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_observer_that_fails_does_not_keep_the_answer_back(
    socket_path: Path, channel: grpc.aio.Channel
) -> None:
    def observe(context: CallContext, code: StatusCode, seconds: float) -> None:
        raise ValueError("a bug")

    async with serving(socket_path, observe=observe):
        for _ in range(2):
            assert (await unary(channel)(text("x"), timeout=30)).value == b"x"
