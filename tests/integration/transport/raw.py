"""A client that sends whatever bytes a test wants, and reads frames."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION = 9
ENHANCE_YOUR_CALM = 11
PROTOCOL_ERROR = 1
FLOW_CONTROL_ERROR = 3
COMPRESSION_ERROR = 9
REFUSED_STREAM = 7
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Unary"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def headers(
    stream: int, *, end: bool = False, method: str = "Unary", extra: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A whole request's header frame; stateless, so any number may be sent."""
    fields = [
        (name, f"/test.Echo/{method}" if name == ":path" else value) for name, value in REQUEST
    ]
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([*fields, *extra])
    return frame(HEADERS, 0x4 | (0x1 if end else 0), stream, block)


def message(body: bytes) -> bytes:
    """A `BytesValue` as a gRPC message."""
    value = b"\x0a" + _varint(len(body)) + body
    return b"\0" + struct.pack(">I", len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def request(stream: int, body: bytes = b"", method: str = "Unary") -> bytes:
    return headers(stream, method=method) + frame(DATA, 0x1, stream, message(body))


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])


class RawClient:
    """One connection. Reading ends with `None` when the server has closed it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self.seen: list[Frame] = []

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def drain(self) -> None:
        await self._writer.drain()

    async def flood(self, *parts: bytes) -> None:
        """Send much; that the server hangs up meanwhile is what is hoped for."""
        try:
            for part in parts:
                self._writer.write(part)
                await asyncio.wait_for(self._writer.drain(), 5)
        except (ConnectionError, TimeoutError):
            return

    def hello(self, *pairs: tuple[int, int]) -> None:
        self.send(PREFACE, settings(*pairs))

    async def read(self) -> Frame | None:
        try:
            async with asyncio.timeout(20):
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.seen.append(Frame(head[3], head[4], int.from_bytes(head[5:9]), payload))
        return self.seen[-1]

    async def read_until(self, kind: int) -> Frame:
        """The next frame of a kind; acknowledgements are not counted."""
        while True:
            got = await self.read()
            assert got is not None, f"closed before a frame of type {kind}"
            if got.kind == kind and not (kind in (SETTINGS, PING) and got.flags & 1):
                return got

    async def read_all(self) -> list[Frame]:
        """All frames until the server closes the connection."""
        frames: list[Frame] = []
        while (got := await self.read()) is not None:
            frames.append(got)
        return frames

    async def read_answer(self, stream: int) -> tuple[bytes, dict[str, str]]:
        """The data and the headers of one call, up to the end of the stream."""
        body = b""
        fields: dict[str, str] = {}
        while True:
            got = await self.read()
            assert got is not None, "closed before the answer"
            if got.kind == HEADERS:
                decoded = self._decoder.decode(got.payload)
                if got.stream == stream:
                    fields.update((str(name), str(value)) for name, value in decoded)
            elif got.kind == DATA and got.stream == stream:
                body += got.payload
            elif got.kind == RST_STREAM and got.stream == stream:
                raise AssertionError(f"reset with code {got.code}")
            if got.stream == stream and got.kind in (DATA, HEADERS) and got.flags & 1:
                return body, fields

    async def alive(self, stream: int) -> bool:
        """Whether a call is still answered."""
        self.send(request(stream, b"ping"))
        _, fields = await self.read_answer(stream)
        return fields["grpc-status"] == "0"

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def raw_client(path: Path) -> AsyncIterator[RawClient]:
    client = RawClient(*await asyncio.open_unix_connection(str(path)))
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def raw_tcp_client(port: int) -> AsyncIterator[RawClient]:
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        client.close()


def goaway_code(frames: list[Frame]) -> int:
    """The code of the last GOAWAY."""
    codes = [each.code for each in frames if each.kind == GOAWAY]
    assert codes, "the server sent no GOAWAY"
    return codes[-1]


@asynccontextmanager
async def scripted_server(
    path: Path, script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    """A server that does with each connection what `script` says, and closes it."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await script(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, str(path))
    yield
    server.close()
    await asyncio.wait(running, timeout=20)
