"""The known floods and bombs of HTTP/2: each ends the connection, and only that connection."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from hpack import Encoder

from spire_py.transport import Limits

from .echo import Echo, serving, until
from .raw import (
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    REFUSED_STREAM,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    RawClient,
    frame,
    goaway_code,
    headers,
    message,
    raw_client,
    request,
    settings,
)

# As in earnest, only smaller, so that the tests are quick.
LIMITS = Limits(control_frames=200, control_period=60)
COUNT = 3000


def _rapid_reset() -> list[bytes]:
    cancel = (8).to_bytes(4, "big")
    return [
        headers(stream, end=False) + frame(RST_STREAM, 0, stream, cancel)
        for stream in range(1, 2 * COUNT, 2)
    ]


def _reset_by_us() -> list[bytes]:
    """MadeYouReset: the client breaks a rule of each stream, and we are to reset it."""
    return [
        headers(stream) + frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\0")
        for stream in range(1, 2 * COUNT, 2)
    ]


def _reset_by_overflow() -> list[bytes]:
    return [
        headers(stream) + frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")
        for stream in range(1, 2 * COUNT, 2)
    ]


def _reset_by_priority() -> list[bytes]:
    return [
        headers(stream) + frame(PRIORITY, 0, stream, stream.to_bytes(4, "big") + b"\x10")
        for stream in range(1, 2 * COUNT, 2)
    ]


def _malformed_requests() -> list[bytes]:
    return [headers(stream, extra=[("connection", "close")]) for stream in range(1, 2 * COUNT, 2)]


def _refused_streams() -> list[bytes]:
    return [headers(stream, method="Bidi") for stream in range(1, 2 * COUNT, 2)]


def _data_after_the_end() -> list[bytes]:
    return [
        request(stream, b"hang") + frame(DATA, 0, stream, b"x") for stream in range(1, 2 * COUNT, 2)
    ]


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(_rapid_reset(), id="rapid reset"),
        pytest.param(_reset_by_us(), id="made to reset by a window update of 0"),
        pytest.param(_reset_by_overflow(), id="made to reset by a window overflow"),
        pytest.param(_reset_by_priority(), id="made to reset by priority"),
        pytest.param(_data_after_the_end(), id="made to reset by data after the end"),
        pytest.param(_malformed_requests(), id="made to reset by bad headers"),
        pytest.param([frame(PING, 0, 0, b"12345678")] * COUNT, id="ping"),
        pytest.param([frame(PING, 1, 0, b"12345678")] * COUNT, id="ping ack"),
        pytest.param([settings((4, 65_535))] * COUNT, id="settings"),
        pytest.param([settings(*[(4, 1)] * 100)] * COUNT, id="settings with many values"),
        pytest.param([frame(SETTINGS, 1)] * COUNT, id="settings ack"),
        pytest.param([frame(PRIORITY, 0, 3, b"\0\0\0\1\x10")] * COUNT, id="priority"),
        pytest.param([frame(77, 0, 0, b"??")] * COUNT, id="unknown frames"),
        pytest.param(
            [headers(1, method="Bidi"), *[frame(GOAWAY, 0, 0, bytes(8))] * COUNT], id="goaway"
        ),
        pytest.param([frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")] * COUNT, id="window update"),
        pytest.param([headers(1, method="Bidi"), *[frame(DATA, 0, 1)] * COUNT], id="empty data"),
        pytest.param(
            [headers(1, method="Bidi"), *[frame(DATA, 0x8, 1, b"\x04\0\0\0\0")] * COUNT],
            id="data of padding only",
        ),
        pytest.param(
            [headers(1, method="Bidi"), *[frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")] * COUNT],
            id="window update of a stream",
        ),
        pytest.param(
            [headers(1, end=True), *[frame(RST_STREAM, 0, 1, b"\0\0\0\x08")] * COUNT],
            id="reset of one stream again and again",
        ),
    ],
)
async def test_a_flood_ends_in_calm(socket_path: Path, flood: list[bytes]) -> None:
    async with serving(socket_path, limits=LIMITS) as server:
        async with raw_client(socket_path) as bystander, raw_client(socket_path) as attacker:
            bystander.hello()
            attacker.hello()
            reading = asyncio.create_task(attacker.read_all())
            await attacker.flood(*flood)
            assert goaway_code(await reading) == ENHANCE_YOUR_CALM
            assert await bystander.alive(1)
        await until(lambda: server.connections <= 1)


async def test_refused_streams_are_bounded(socket_path: Path) -> None:
    limits = Limits(control_frames=200, control_period=60, concurrent_streams=5)
    async with serving(socket_path, limits=limits), raw_client(socket_path) as attacker:
        attacker.hello()
        reading = asyncio.create_task(attacker.read_all())
        await attacker.flood(*_refused_streams())
        frames = await reading
    resets = [each for each in frames if each.kind == RST_STREAM]
    assert {each.code for each in resets} == {REFUSED_STREAM}
    assert goaway_code(frames) == ENHANCE_YOUR_CALM


async def test_completed_calls_earn_control_frames_back(socket_path: Path) -> None:
    """grpc-go sends a PING for each 20th call or so, for as long as the connection lives."""
    async with serving(socket_path, limits=LIMITS), raw_client(socket_path) as client:
        client.hello()
        for stream in range(1, 2 * 1000, 2):
            client.send(frame(PING, 0, 0, b"bdp-ping"))
            assert await client.alive(stream)


async def test_window_updates_and_pings_for_what_was_sent_are_free(socket_path: Path) -> None:
    async with serving(socket_path, limits=LIMITS), raw_client(socket_path) as client:
        client.hello()
        client.send(request(1, b"many:2000:4000", method="ServerStream"))
        received = 0
        while True:
            got = await client.read()
            assert got is not None
            if got.kind == DATA:
                received += len(got.payload)
                update = len(got.payload).to_bytes(4, "big")
                client.send(frame(WINDOW_UPDATE, 0, 1, update), frame(WINDOW_UPDATE, 0, 0, update))
                client.send(frame(PING, 0, 0, b"bdp-ping"))
            elif got.kind == HEADERS and got.flags & 1:
                break
    assert received > 8_000_000


async def _fate(client: RawClient) -> list[Frame]:
    return await client.read_all()


async def test_a_continuation_flood_ends_the_connection(socket_path: Path) -> None:
    async with serving(socket_path), raw_client(socket_path) as attacker:
        attacker.hello()
        reading = asyncio.create_task(_fate(attacker))
        await attacker.flood(
            frame(HEADERS, 0, 1, b"\x00\x01a"), *[frame(CONTINUATION, 0, 1)] * COUNT
        )
        assert goaway_code(await reading) == ENHANCE_YOUR_CALM


async def test_an_endless_header_block_ends_the_connection(socket_path: Path) -> None:
    async with serving(socket_path), raw_client(socket_path) as attacker:
        attacker.hello()
        reading = asyncio.create_task(_fate(attacker))
        await attacker.flood(
            frame(HEADERS, 0, 1), *[frame(CONTINUATION, 0, 1, b"\x00" * 16_384)] * 100
        )
        assert goaway_code(await reading) == ENHANCE_YOUR_CALM


async def test_an_hpack_bomb_ends_the_connection(socket_path: Path) -> None:
    """One large entry in the table, then thousands of one-byte references to it."""
    block = Encoder().encode([*REQUEST, ("x", "y" * 3500)]) + b"\xbe" * 10_000
    async with serving(socket_path), raw_client(socket_path) as attacker:
        attacker.hello()
        attacker.send(frame(HEADERS, 0x5, 1, block))
        assert goaway_code(await attacker.read_all()) == ENHANCE_YOUR_CALM


async def test_a_huge_header_list_ends_the_connection(socket_path: Path) -> None:
    extra = [(f"x-{index}", "v" * 100) for index in range(400)]
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([*REQUEST, *extra])
    parts = [block[i : i + 16_000] for i in range(0, len(block), 16_000)]
    async with serving(socket_path), raw_client(socket_path) as attacker:
        attacker.hello()
        attacker.send(frame(HEADERS, 0x1, 1, parts[0]))
        for part in parts[1:-1]:
            attacker.send(frame(CONTINUATION, 0, 1, part))
        attacker.send(frame(CONTINUATION, 0x4, 1, parts[-1]))
        assert goaway_code(await attacker.read_all()) == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff", id="endless integer"),
        pytest.param(b"\xc0", id="index beyond the table"),
        pytest.param(b"\x00\x05ab", id="truncated"),
        pytest.param(b"\x3f\xff\xff\x7f", id="table too large"),
        pytest.param(b"\x20" * 1000, id="many table sizes"),
        pytest.param(b"\x00\x84\xff\xff\xff\xff\x00", id="huffman end of string"),
    ],
)
async def test_a_broken_header_block_ends_the_connection(socket_path: Path, block: bytes) -> None:
    async with serving(socket_path), raw_client(socket_path) as attacker:
        attacker.hello()
        attacker.send(frame(HEADERS, 0x5, 1, block))
        assert goaway_code(await attacker.read_all()) == COMPRESSION_ERROR


async def test_a_client_that_ignores_the_streams_window_loses_the_stream(
    socket_path: Path,
) -> None:
    """The window is only opened as messages are taken: the handler holds the first one back."""
    echo = Echo()
    limits = Limits(stream_window=65_536)
    async with serving(socket_path, echo, limits=limits), raw_client(socket_path) as attacker:
        attacker.hello()
        attacker.send(headers(1, method="Bidi"), frame(DATA, 0, 1, message(b"hold")))
        await asyncio.wait_for(echo.started.wait(), 20)
        await attacker.flood(*[frame(DATA, 0, 1, message(b"x" * 10_000))] * 20)
        reset = await attacker.read_until(RST_STREAM)
        assert (reset.stream, reset.code) == (1, FLOW_CONTROL_ERROR)
        assert await attacker.alive(3)


async def test_what_a_connection_may_keep_waiting_is_bounded(socket_path: Path) -> None:
    """With a window of zero no answer can leave; they must not pile up."""
    limits = Limits(buffered_bytes=1_000_000)
    async with serving(socket_path, limits=limits), raw_client(socket_path) as attacker:
        attacker.hello((4, 0))
        reading = asyncio.create_task(_fate(attacker))
        await attacker.flood(*[request(stream, b"size:100000") for stream in range(1, 201, 2)])
        assert goaway_code(await reading) == ENHANCE_YOUR_CALM


async def test_half_sent_requests_are_bounded(socket_path: Path) -> None:
    limits = Limits(buffered_bytes=1_000_000)
    async with serving(socket_path, limits=limits), raw_client(socket_path) as attacker:
        attacker.hello()
        reading = asyncio.create_task(_fate(attacker))
        start = b"\0" + struct.pack(">I", 4_000_000)
        parts = [
            headers(stream) + frame(DATA, 0, stream, start + b"x" * 16_000)
            for stream in range(1, 201, 2)
        ]
        await attacker.flood(*parts)
        assert goaway_code(await reading) == ENHANCE_YOUR_CALM


async def test_tiny_windows_do_not_come_for_free(socket_path: Path) -> None:
    """A window of one byte at a time makes a frame of each byte."""
    async with serving(socket_path, limits=LIMITS), raw_client(socket_path) as attacker:
        attacker.hello((4, 1))
        attacker.send(request(1, b"size:100000"))
        reading = asyncio.create_task(_fate(attacker))
        await attacker.flood(*[frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")] * COUNT)
        assert goaway_code(await reading) == ENHANCE_YOUR_CALM


async def test_answers_nobody_reads_are_bounded(socket_path: Path) -> None:
    """PING answers pile up in the socket of a client that does not read."""
    limits = Limits(control_frames=10**9, write_buffer_bytes=64 << 10)
    async with (
        serving(socket_path, limits=limits) as server,
        raw_client(socket_path) as attacker,
    ):
        attacker.hello()
        await attacker.flood(*[frame(PING, 0, 0, b"12345678") * 1000] * 2000)
        await until(lambda: not server.connections)
