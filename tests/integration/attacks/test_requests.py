"""Requests that no client sends: each is refused, and costs nobody else anything."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hpack import Encoder

from tests.integration.transport.echo import Echo, serving
from tests.integration.transport.raw import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PRIORITY,
    PROTOCOL_ERROR,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    goaway_code,
    headers,
    message,
    raw_client,
    request,
)


def block(*extra: tuple[str, str], path: str = "/test.Echo/Unary") -> bytes:
    fields = [(name, path if name == ":path" else value) for name, value in REQUEST]
    return Encoder().encode([*fields, *extra])


def literal(name: bytes, value: bytes) -> bytes:
    """A field as it stands, which no encoder would make."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


@pytest.mark.parametrize(
    "name",
    [b"", b" ", b"x y", b"x\0y", b"x:y", b"x\ny", b"X-Upper", b"\xff", b"x\x7f", b"Workload"],
)
async def test_a_header_name_that_http_does_not_know_is_refused(
    socket_path: Path, name: bytes
) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(frame(HEADERS, 0x4, 1, block() + literal(name, b"true")))
        reset = await client.read_until(RST_STREAM)
        assert (reset.stream, reset.code) == (1, PROTOCOL_ERROR)
        assert await client.alive(3)


@pytest.mark.parametrize("value", [b"a\0b", b"a\nb", b"a\rb", b"true\r\nx: y"])
async def test_a_header_value_that_could_end_a_line_is_refused(
    socket_path: Path, value: bytes
) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(frame(HEADERS, 0x4, 1, block() + literal(b"x", value)))
        reset = await client.read_until(RST_STREAM)
        assert (reset.stream, reset.code) == (1, PROTOCOL_ERROR)
        assert await client.alive(3)


@pytest.mark.parametrize(
    "path",
    [
        "/test.Echo/Unary/",
        "//test.Echo/Unary",
        "/test.Echo/../test.Echo/Unary",
        "/test.echo/unary",
        "/test.Echo/Unary?x=y",
        "/test.Echo/Unary%00",
        "/test.Echo/%55nary",
        "http://localhost/test.Echo/Unary",
        "test.Echo/Unary",
        "/test.Echo/__init__",
        "/test.Echo/" + "x" * 8_000,
        "*",
        "/",
    ],
)
async def test_a_path_is_taken_to_the_letter(socket_path: Path, path: str) -> None:
    echo = Echo()
    async with serving(socket_path, echo), raw_client(socket_path) as client:
        client.hello()
        client.send(frame(HEADERS, 0x5, 1, block(path=path)))
        _, fields = await client.read_answer(1)
        assert fields["grpc-status"] == "12"
        assert not echo.contexts
        assert await client.alive(3)


@pytest.mark.parametrize(
    "timeout", ["", "1", "S", "-1S", "1s", "123456789S", "1.5S", " 1S", "0x1S", "1S1S", "\u0661S"]
)
async def test_a_malformed_deadline_is_refused(socket_path: Path, timeout: str) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(headers(1, end=True, extra=[("grpc-timeout", timeout)]))
        _, fields = await client.read_answer(1)
        assert fields["grpc-status"] == "13"
        assert await client.alive(3)


@pytest.mark.parametrize("timeout", ["99999999H", "99999999S", "00000099S"])
async def test_a_deadline_may_be_far_away(socket_path: Path, timeout: str) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(headers(1, extra=[("grpc-timeout", timeout)]), frame(DATA, 1, 1, message(b"x")))
        _, fields = await client.read_answer(1)
        assert fields["grpc-status"] == "0"


def compressed(body: bytes, flag: int = 1) -> bytes:
    return bytes((flag,)) + struct.pack(">I", len(body)) + body


BOMB = gzip.compress(bytes(32 << 20))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("gzip", compressed(BOMB), "8", id="bomb"),
        pytest.param("gzip", compressed(BOMB[:-20]), "8", id="bomb without an end"),
        pytest.param("gzip", compressed(gzip.compress(b"x")[:-6]), "13", id="cut off"),
        pytest.param("gzip", compressed(b"junk"), "13", id="junk"),
        pytest.param("gzip", compressed(b"", flag=2), "13", id="unknown flag"),
        pytest.param("identity", compressed(gzip.compress(b"x")), "13", id="not announced"),
        pytest.param("deflate", compressed(b"x"), "12", id="unknown encoding"),
        pytest.param("identity", b"\0\xff\xff\xff\xff", "8", id="announced as 4 GiB"),
        pytest.param("identity", b"\0\0\0\0\5x", "13", id="longer than what comes"),
        pytest.param("identity", b"\0\0", "13", id="half a prefix"),
        pytest.param("identity", message(b"a") + message(b"b"), "13", id="two messages"),
    ],
)
async def test_a_message_that_lies_is_refused(
    socket_path: Path, encoding: str, body: bytes, status: str
) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(headers(1, extra=[("grpc-encoding", encoding)]))
        parts = [body[start : start + 16_000] for start in range(0, len(body), 16_000)]
        for part in parts[:-1]:
            client.send(frame(DATA, 0, 1, part))
        client.send(frame(DATA, 1, 1, parts[-1]))
        _, fields = await client.read_answer(1)
        assert fields["grpc-status"] == status
        assert await client.alive(3)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(
            frame(HEADERS, 0, 1, block()[:5]) + frame(CONTINUATION, 4, 3, block()[5:]),
            id="a header block continued on another stream",
        ),
        pytest.param(
            frame(HEADERS, 0, 1, block()[:5]) + request(3), id="a stream within a header block"
        ),
        pytest.param(
            frame(HEADERS, 0x24, 1, struct.pack(">IB", 1, 0) + block()),
            id="a stream that depends on itself",
        ),
        pytest.param(headers(2, end=True), id="a stream of the server's"),
        pytest.param(headers(5, end=True) + headers(3, end=True), id="a stream that was skipped"),
        pytest.param(frame(DATA, 1, 7, b"x"), id="data before headers"),
        pytest.param(frame(RST_STREAM, 0, 7, b"\0\0\0\0"), id="the end of what never began"),
        pytest.param(frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), id="a window beyond bounds"),
        pytest.param(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)), id="a window of 2 GiB"),
        pytest.param(frame(GOAWAY, 0, 0, b"\0"), id="a goodbye cut short"),
        pytest.param(frame(PRIORITY, 0, 0, b"\0\0\0\1\0"), id="priority of the connection"),
        pytest.param(b"\xff\xff\xff" + frame(DATA, 0, 1)[3:], id="a frame of 16 MiB"),
    ],
)
async def test_a_connection_that_breaks_the_rules_ends_alone(
    socket_path: Path, frames: bytes
) -> None:
    async with (
        serving(socket_path),
        raw_client(socket_path) as honest,
        raw_client(socket_path) as attacker,
    ):
        honest.hello()
        attacker.hello()
        attacker.send(frames)
        assert goaway_code(await attacker.read_all())
        assert await honest.alive(1)


async def test_after_a_goodbye_no_stream_is_opened(socket_path: Path) -> None:
    echo = Echo()
    async with serving(socket_path, echo), raw_client(socket_path) as client:
        client.hello()
        client.send(frame(GOAWAY, 0, 0, bytes(8)), request(1), request(3))
        await client.read_all()
        assert not echo.contexts
