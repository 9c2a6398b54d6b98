"""Mutated traffic against a live server: whatever comes, it neither falls over nor leaks."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import SpireError
from spire_py.transport import Channel, Limits

from .echo import UNARY, Echo, serving, text, until
from .raw import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
    headers,
    message,
    request,
    scripted_server,
    settings,
)

_CASES = 400
_SEED = 20260101

Mutation = Callable[[random.Random, bytearray], bytes]


def _conversation(choice: random.Random) -> bytearray:
    """What a client may well send: some calls, ended and not, and frames in between."""
    parts = [PREFACE, settings((4, choice.choice([0, 1, 65_535, 1 << 20])), (3, 100))]
    for stream in range(1, 2 * choice.randint(1, 6), 2):
        body = choice.randbytes(choice.choice([0, 1, 50, 3000]))
        method = choice.choice(["Unary", "ServerStream", "ClientStream", "Bidi", "Nope"])
        extra = choice.choice(
            [[], [("grpc-timeout", "1S")], [("x", "y" * 50)], [("grpc-encoding", "gzip")]]
        )
        parts.append(headers(stream, method=method, extra=extra))
        parts.append(frame(DATA, choice.choice([0, 1]), stream, message(body)))
        parts.append(
            choice.choice(
                [
                    b"",
                    frame(PING, 0, 0, b"12345678"),
                    frame(WINDOW_UPDATE, 0, 0, (1000).to_bytes(4)),
                    frame(WINDOW_UPDATE, 0, stream, (1000).to_bytes(4)),
                    frame(RST_STREAM, 0, stream, (8).to_bytes(4)),
                    frame(PRIORITY, 0, stream, b"\0\0\0\0\x10"),
                    frame(GOAWAY, 0, 0, bytes(8)),
                ]
            )
        )
    return bytearray(b"".join(parts))


def _flip_bits(choice: random.Random, data: bytearray) -> bytes:
    for _ in range(choice.randint(1, 8)):
        data[choice.randrange(24, len(data))] ^= 1 << choice.randrange(8)
    return bytes(data)


def _overwrite(choice: random.Random, data: bytearray) -> bytes:
    start = choice.randrange(24, len(data))
    data[start : start + choice.randint(1, 20)] = choice.randbytes(choice.randint(0, 20))
    return bytes(data)


def _cut(choice: random.Random, data: bytearray) -> bytes:
    return bytes(data[: choice.randrange(len(data))])


def _repeat(choice: random.Random, data: bytearray) -> bytes:
    start = choice.randrange(24, len(data))
    return bytes(data) + bytes(data[start:]) * choice.randint(1, 4)


def _strange_frames(choice: random.Random, data: bytearray) -> bytes:
    kinds = [
        DATA,
        HEADERS,
        PRIORITY,
        RST_STREAM,
        4,
        5,
        PING,
        GOAWAY,
        WINDOW_UPDATE,
        CONTINUATION,
        99,
    ]
    strange = [
        frame(
            choice.choice(kinds),
            choice.choice([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF]),
            choice.choice([0, 1, 2, 3, 5, 2**31 - 1]),
            choice.randbytes(choice.choice([0, 1, 4, 5, 8, 40])),
        )
        for _ in range(choice.randint(1, 6))
    ]
    return bytes(data) + b"".join(strange)


def _noise(choice: random.Random, data: bytearray) -> bytes:
    return bytes(data[:33]) + choice.randbytes(choice.randint(1, 300))


@pytest.mark.parametrize("mutate", [_flip_bits, _overwrite, _cut, _repeat, _strange_frames, _noise])
async def test_mutated_traffic_harms_only_its_own_connection(
    socket_path: Path, mutate: Mutation, capfd: pytest.CaptureFixture[str]
) -> None:
    choice = random.Random(f"{_SEED}{mutate.__name__}")
    loop = asyncio.get_running_loop()
    faults: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    before = asyncio.all_tasks()
    async with serving(socket_path, limits=Limits(idle_timeout=None)) as server:
        bystander = Channel.unix(socket_path)
        for case in range(_CASES):
            data = mutate(choice, _conversation(choice))
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                await loop.sock_connect(client, str(socket_path))
                await _send(loop, client, data)
            if case % 50 == 0:
                body = choice.randbytes(20)
                answer = await bystander.unary(UNARY, text(body), BytesValue, timeout=30)
                assert answer.value == body
        await bystander.aclose()
        await until(lambda: not server.connections)
        await until(lambda: len(asyncio.all_tasks()) <= len(before) + 1)  # the housekeeping
    assert faults == []
    output = capfd.readouterr()
    assert "call_failed" not in output.out + output.err  # no handler met what it cannot take


async def _send(loop: asyncio.AbstractEventLoop, client: socket.socket, data: bytes) -> None:
    """Send what the server takes before it hangs up, and let it answer a little."""
    try:
        await asyncio.wait_for(loop.sock_sendall(client, data), 20)
        for _ in range(3):
            await asyncio.sleep(0)
        client.recv(1 << 16)
    except (BlockingIOError, ConnectionError):
        return


@pytest.mark.parametrize("mutate", [_flip_bits, _overwrite, _cut, _strange_frames, _noise])
async def test_a_mutated_server_harms_only_the_call(socket_path: Path, mutate: Mutation) -> None:
    """Answers of our own server, mutated on the way: calls end with an answer or an error."""
    choice = random.Random(f"{_SEED}client{mutate.__name__}")
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    recorded = await _record_answer(socket_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(mutate(choice, bytearray(recorded)))
        writer.write_eof()
        await reader.read()

    path = socket_path.with_name("mutated.sock")
    errors = 0
    async with scripted_server(path, answer):
        for _ in range(100):
            channel = Channel.unix(path)
            try:
                await channel.unary(UNARY, text("x" * 100), BytesValue, timeout=5)
            except SpireError:
                errors += 1
            await channel.aclose()
    assert errors
    assert faults == []


async def _record_answer(path: Path) -> bytes:
    """What our server sends for one call."""
    async with serving(path, Echo()):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(PREFACE + settings() + request(1, b"x" * 100))
        recorded = b""
        while b"grpc-status" not in recorded:
            recorded += await asyncio.wait_for(reader.read(1 << 16), 20)
        writer.close()
    return recorded
