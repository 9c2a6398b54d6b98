"""grpc-go at the other end, which SPIRE is made of."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue, StringValue, UInt32Value, UInt64Value

from spire_py.errors import Canceled, DeadlineExceeded, PermissionDenied, error_for_status
from spire_py.transport import (
    CallContext,
    Channel,
    Limits,
    Server,
    Service,
    client_context,
    server_context,
)

from .certificates import Authority, Identity
from .echo import refused

SERVICE = "spirepy.peers.Echo"
AGENT_ID = "spiffe://example.org/spire/agent/x509pop/a"
SERVER_ID = "spiffe://example.org/spire/server"

RequirePeer = Callable[[str], Path]


def _descriptor() -> Any:
    """The service of the Go programs."""
    file = descriptor_pb2.FileDescriptorProto(
        name="test/peers_echo.proto",
        package="spirepy.peers",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="Echo")
    for name, request, response, client, server in (
        ("Unary", "BytesValue", "BytesValue", False, False),
        ("ServerStream", "UInt32Value", "BytesValue", False, True),
        ("ClientStream", "BytesValue", "UInt64Value", True, False),
        ("Bidi", "BytesValue", "BytesValue", True, True),
        ("Fail", "UInt32Value", "BytesValue", False, False),
        ("Wait", "BytesValue", "BytesValue", False, False),
        ("Identity", "BytesValue", "StringValue", False, False),
    ):
        service.method.add(
            name=name,
            input_type=f".google.protobuf.{request}",
            output_type=f".google.protobuf.{response}",
            client_streaming=client,
            server_streaming=server,
        )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return pool.FindServiceByName(SERVICE)


class PeersEcho:
    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def unary(self, request: BytesValue, context: CallContext) -> BytesValue:
        echoed = [pair for pair in context.metadata.pairs() if pair[0].startswith("x-echo-")]
        context.set_trailing_metadata(*echoed)
        return request

    async def server_stream(
        self, request: UInt32Value, context: CallContext
    ) -> AsyncIterator[BytesValue]:
        for index in range(request.value):
            yield BytesValue(value=str(index).encode())

    async def client_stream(
        self, requests: AsyncIterator[BytesValue], context: CallContext
    ) -> UInt64Value:
        return UInt64Value(value=sum([len(request.value) async for request in requests]))

    async def bidi(
        self, requests: AsyncIterator[BytesValue], context: CallContext
    ) -> AsyncIterator[BytesValue]:
        async for request in requests:
            yield request

    async def fail(self, request: UInt32Value, context: CallContext) -> BytesValue:
        detail = AnyMessage()
        detail.Pack(request)
        text = f"asked for code {request.value}"
        raise error_for_status(request.value, text, (detail.SerializeToString(),))

    async def wait(self, request: BytesValue, context: CallContext) -> BytesValue:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def identity(self, request: BytesValue, context: CallContext) -> StringValue:
        return StringValue(value=str(context.peer.identity or ""))


_DESCRIPTOR = _descriptor()


@asynccontextmanager
async def serving_peers(path: Path, **options: Any) -> AsyncIterator[PeersEcho]:
    echo = PeersEcho()
    server = Server([Service(_DESCRIPTOR, echo)], **options)
    await server.listen_unix(path, mode=0o600, directory_mode=0o755)
    try:
        yield echo
    finally:
        await server.aclose(timedelta())


async def run_client(program: Path, *arguments: str) -> list[dict[str, Any]]:
    """The lines that the Go client prints, one for each call."""
    process = await asyncio.create_subprocess_exec(
        str(program), *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 90)
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines, errors.decode()
    return lines


@pytest.mark.peer("grpcecho-client")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-call", "unary", "-repeat", "20"], id="unary"),
        pytest.param(["-call", "unary", "-size", "3900000"], id="large"),
        pytest.param(["-call", "unary", "-size", "0"], id="empty"),
        pytest.param(["-call", "unary", "-size", "200000", "-gzip"], id="gzip"),
        pytest.param(["-call", "server-stream", "-messages", "5000"], id="server stream"),
        pytest.param(
            ["-call", "client-stream", "-messages", "200", "-size", "20000"], id="client stream"
        ),
        pytest.param(["-call", "bidi", "-messages", "200", "-size", "20000"], id="bidi"),
        pytest.param(["-call", "unary", "-parallel", "50", "-repeat", "200"], id="parallel"),
        pytest.param(["-call", "unary", "-new-connection", "-repeat", "30"], id="connections"),
    ],
)
async def test_a_go_client_is_served(
    socket_path: Path, require_peer: RequirePeer, arguments: list[str]
) -> None:
    async with serving_peers(socket_path):
        lines = await run_client(
            require_peer("grpcecho-client"),
            *("-target", f"unix://{socket_path}", "-deadline", "60s"),
            *arguments,
        )
    assert {line["code"] for line in lines} == {"OK"}, lines[0]


@pytest.mark.peer("grpcecho-client")
async def test_a_go_client_reads_status_details_and_metadata(
    socket_path: Path, require_peer: RequirePeer
) -> None:
    program = require_peer("grpcecho-client")
    target = ("-target", f"unix://{socket_path}")
    async with serving_peers(socket_path) as echo:
        [line] = await run_client(program, *target, "-call", "fail", "-code", "7")
        assert (line["code"], line["message"]) == ("PermissionDenied", "asked for code 7")
        assert line["details"] == ["value:7"]

        metadata = ("-metadata", "x-echo-a=hello")
        [line] = await run_client(program, *target, "-call", "unary", *metadata)
        assert line["trailer"]["x-echo-a"] == ["hello"]

        [line] = await run_client(program, *target, "-call", "wait", "-deadline", "100ms")
        assert line["code"] == "DeadlineExceeded"
        await asyncio.wait_for(echo.cancelled.wait(), 20)
        echo.cancelled.clear()

        [line] = await run_client(program, *target, "-call", "cancel")
        assert line["code"] == "Canceled"
        await asyncio.wait_for(echo.cancelled.wait(), 20)


@pytest.mark.peer("grpcecho-client")
async def test_a_go_client_under_load_is_not_taken_for_a_flood(
    socket_path: Path, require_peer: RequirePeer
) -> None:
    """Its window probing makes pings by the hundred; the budget is small here."""
    limits = Limits(control_frames=60, control_period=3600)
    async with serving_peers(socket_path, limits=limits):
        lines = await run_client(
            require_peer("grpcecho-client"),
            *("-target", f"unix://{socket_path}", "-deadline", "60s"),
            *("-parallel", "20", "-repeat", "300", "-size", "3000"),
        )
    assert {line["code"] for line in lines} == {"OK"}
    assert len(lines) == 6000


def _write(directory: Path, name: str, identity: Identity) -> tuple[str, str]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    certificate.write_bytes(identity.chain_pem)
    key.write_bytes(identity.key_pem)
    return str(certificate), str(key)


@pytest.mark.peer("grpcecho-client")
async def test_a_go_client_with_a_certificate(
    directory: Path, authority: Authority, require_peer: RequirePeer
) -> None:
    roots = directory / "roots.pem"
    roots.write_bytes(authority.root_pem)
    certificate, key = _write(directory, "agent", authority.issue(AGENT_ID))
    own = authority.issue(SERVER_ID)
    context = server_context(chain=[own.certificate], key=own.key, roots=[authority.root])
    server = Server([Service(_DESCRIPTOR, PeersEcho())])
    _, port = await server.listen_tcp(
        "127.0.0.1",
        0,
        tls=lambda: context,
        verify_peer=lambda chain: f"{len(chain)} certificates",
        max_connection_age=None,
    )
    target = ("-target", f"127.0.0.1:{port}", "-ca", str(roots), "-call", "identity")
    program = require_peer("grpcecho-client")
    [line] = await run_client(program, *target, "-cert", certificate, "-key", key)
    assert line["identity"] == "2 certificates"
    [line] = await run_client(program, *target)
    assert (line["code"], line["identity"]) == ("OK", "")
    await server.aclose(timedelta())


@asynccontextmanager
async def go_server(program: Path, *arguments: str) -> AsyncIterator[str]:
    """A running grpcecho-server; gives its address."""
    process = await asyncio.create_subprocess_exec(
        str(program), *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        yield str(line["address"])
    finally:
        process.kill()
        await process.communicate()


async def _echo(channel: Channel, body: bytes) -> bytes:
    answer = await channel.unary(
        f"/{SERVICE}/Unary", BytesValue(value=body), BytesValue, timeout=60
    )
    return answer.value


@pytest.mark.peer("grpcecho-server")
async def test_a_go_server_answers_our_client(socket_path: Path, require_peer: RequirePeer) -> None:
    program = require_peer("grpcecho-server")
    async with go_server(program, "-listen", f"unix://{socket_path}"):
        channel = Channel.unix(socket_path)
        for size in (0, 1, 16_384, 3_900_000):
            assert await _echo(channel, b"x" * size) == b"x" * size
        bodies = [b"%d" % index * (index % 2000) for index in range(300)]
        assert await asyncio.gather(*(_echo(channel, body) for body in bodies)) == bodies

        count = UInt32Value(value=5000)
        async with channel.server_stream(f"/{SERVICE}/ServerStream", count, BytesValue) as stream:
            received = [message.value async for message in stream]
        assert received == [str(index).encode() for index in range(5000)]

        async with channel.bidi(f"/{SERVICE}/ClientStream", UInt64Value) as call:
            for _ in range(100):
                await call.send(BytesValue(value=b"x" * 10_000))
            call.done_sending()
            assert [message.value async for message in call] == [1_000_000]

        refusal = channel.unary(f"/{SERVICE}/Fail", UInt32Value(value=7), BytesValue, timeout=30)
        error = await refused(refusal)
        assert isinstance(error, PermissionDenied)
        assert error.message == "asked for code 7"
        detail = UInt32Value()
        assert AnyMessage.FromString(error.details[0]).Unpack(detail)
        assert detail.value == 7

        waiting = channel.unary(f"/{SERVICE}/Wait", BytesValue(), BytesValue, timeout=0.1)
        assert isinstance(await refused(waiting), (DeadlineExceeded, Canceled))
        await channel.aclose()


@pytest.mark.peer("grpcecho-server")
async def test_our_client_survives_the_age_limit_of_a_go_server(
    socket_path: Path, require_peer: RequirePeer
) -> None:
    program = require_peer("grpcecho-server")
    age = ("-max-connection-age", "50ms", "-max-concurrent-streams", "5")
    async with go_server(program, "-listen", f"unix://{socket_path}", *age):
        channel = Channel.unix(socket_path)

        async def calls() -> None:
            for index in range(300):
                body = b"%d" % index
                assert await _echo(channel, body) == body

        await asyncio.gather(*(calls() for _ in range(10)))
        await channel.aclose()


@pytest.mark.peer("grpcecho-server")
async def test_a_go_server_takes_our_certificate(
    directory: Path, authority: Authority, require_peer: RequirePeer
) -> None:
    roots = directory / "roots.pem"
    roots.write_bytes(authority.root_pem)
    certificate, key = _write(directory, "server", authority.issue(SERVER_ID))
    arguments = ("-cert", certificate, "-key", key, "-ca", str(roots), "-require-client-cert")
    agent = authority.issue(AGENT_ID)
    context = client_context(chain=[agent.certificate], key=agent.key, roots=[authority.root])
    async with go_server(require_peer("grpcecho-server"), *arguments) as address:
        channel = Channel.tcp(
            "127.0.0.1", int(address.rpartition(":")[2]), tls=lambda: context, verify_peer=None
        )
        answer = await channel.unary(f"/{SERVICE}/Identity", BytesValue(), StringValue, timeout=30)
        await channel.aclose()
    assert answer.value == AGENT_ID
