"""How connections end: by age, idleness, silence, slowness, and with the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import FailedPrecondition, InvalidArgument, Unavailable
from spire_py.transport import Channel, Limits, Server, Service
from tests.fakes.clock import FakeClock

from .echo import BIDI, ECHO, STREAM, UNARY, Echo, refused, serving, text, until
from .raw import (
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    goaway_code,
    headers,
    message,
    raw_client,
    raw_tcp_client,
    request,
)

MINUTE = timedelta(minutes=1)
AGE = 3 * MINUTE


@asynccontextmanager
async def serving_tcp(
    clock: FakeClock, echo: Echo | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[Server, int]]:
    # Raw clients do not answer pings by themselves.
    limits = limits or Limits(keepalive_interval=1e9, keepalive_timeout=1e9)
    server = Server([Service(ECHO, echo or Echo())], clock=clock, limits=limits)
    _, port = await server.listen_tcp(
        "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=AGE
    )
    try:
        yield server, port
    finally:
        await server.aclose(timedelta())


async def until_closed(server: Server) -> None:
    await until(lambda: not server.connections)


# The settings.


async def test_the_settings_come_at_once_before_the_client_says_a_word(socket_path: Path) -> None:
    """Istio's pilot-agent dials, waits for them for a second, and deletes the socket otherwise."""
    async with serving(socket_path), raw_client(socket_path) as client:
        first = await client.read()
    assert first is not None
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)


# Age.


async def test_an_old_connection_is_retired_but_its_calls_end_in_peace() -> None:
    clock = FakeClock()
    echo = Echo()
    async with serving_tcp(clock, echo) as (server, port), raw_tcp_client(port) as client:
        client.hello()
        client.send(request(1, b"wait"))
        await asyncio.wait_for(echo.started.wait(), 20)
        await clock.advance(AGE * 1.11)
        first = await client.read_until(GOAWAY)
        assert int.from_bytes(first.payload[:4]) == 2**31 - 1
        ping = await client.read_until(PING)
        # A call that crossed the first GOAWAY is still taken.
        client.send(request(3, b"late"), frame(PING, 1, 0, ping.payload))
        last = await client.read_until(GOAWAY)
        assert (int.from_bytes(last.payload[:4]), last.code) == (3, 0)
        await clock.advance(10 * MINUTE)  # there is no limit to how long they take
        assert server.connections == 1
        echo.release.set()
        await client.read_all()
        ended = [each.stream for each in client.seen if each.kind == HEADERS and each.flags & 1]
        assert sorted(ended) == [1, 3]
        await until_closed(server)


async def test_a_connection_is_not_retired_early() -> None:
    clock = FakeClock()
    async with serving_tcp(clock) as (_, port), raw_tcp_client(port) as client:
        client.hello()
        assert await client.alive(1)
        await clock.advance(AGE * 0.89)
        assert await client.alive(3)


async def test_a_client_that_does_not_answer_the_last_ping_is_dropped() -> None:
    clock = FakeClock()
    limits = Limits(keepalive_interval=1e9)
    async with (
        serving_tcp(clock, limits=limits) as (server, port),
        raw_tcp_client(port) as client,
    ):
        client.hello()
        client.send(headers(1, method="Bidi"))
        await client.read_until(SETTINGS)
        assert await client.alive(3)
        await clock.advance(AGE * 1.11)
        await client.read_until(GOAWAY)
        await clock.advance(MINUTE)
        await until_closed(server)


async def test_our_client_moves_to_a_new_connection_without_losing_a_call() -> None:
    clock = FakeClock()
    async with serving_tcp(clock) as (_, port):
        channel = Channel.tcp("127.0.0.1", port, tls=None, verify_peer=None)
        for _ in range(5):
            calls = [channel.unary(UNARY, text("x"), BytesValue, timeout=30) for _ in range(20)]
            running = asyncio.gather(*calls)
            await clock.advance(AGE * 1.11)
            assert [answer.value for answer in await running] == [b"x"] * 20
        await channel.aclose()


async def test_unix_connections_have_no_age(socket_path: Path) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock), raw_client(socket_path) as client:
        client.hello()
        client.send(headers(1, method="Bidi"))
        await clock.advance(20 * MINUTE)
        assert await client.alive(3)


# Idleness and silence.


async def test_an_idle_connection_is_retired(socket_path: Path) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        client.hello()
        assert await client.alive(1)
        await clock.advance(timedelta(seconds=590))
        assert await client.alive(3)
        await clock.advance(timedelta(seconds=605))
        ping = await client.read_until(PING)
        client.send(frame(PING, 1, 0, ping.payload))
        assert goaway_code(await client.read_all()) == 0
        await until_closed(server)


async def test_a_silent_peer_is_pinged_and_kept_if_it_answers() -> None:
    clock = FakeClock()
    limits = Limits(keepalive_interval=30)
    async with (
        serving_tcp(clock, limits=limits) as (server, port),
        raw_tcp_client(port) as client,
    ):
        client.hello()
        assert await client.alive(1)
        for _ in range(3):
            await clock.advance(timedelta(seconds=31))
            ping = await client.read_until(PING)
            client.send(frame(PING, 1, 0, ping.payload))
            stream = 3 + 2 * int(clock.monotonic())
            assert await client.alive(stream)
        await clock.advance(timedelta(seconds=31))
        await client.read_until(PING)
        await clock.advance(timedelta(seconds=21))
        await until_closed(server)


# Slowness.


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PREFACE[:10], id="half a preface"),
        pytest.param(PREFACE, id="no settings"),
        pytest.param(PREFACE + b"\0\0\6\4", id="half of the settings"),
    ],
)
async def test_a_slow_preface_is_not_waited_for(socket_path: Path, start: bytes) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        client.send(start)
        await client.read_until(SETTINGS)
        await clock.advance(timedelta(seconds=12))
        await until_closed(server)


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(headers(1)[:5], id="half a frame header"),
        pytest.param(headers(1)[:20], id="half a frame"),
        pytest.param(frame(HEADERS, 0, 1, b"\x83"), id="half a header block"),
    ],
)
async def test_a_frame_that_is_never_finished_ends_the_connection(
    socket_path: Path, piece: bytes
) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        client.hello()
        assert await client.alive(101)
        client.send(piece)
        await client.drain()
        for _ in range(50):
            await asyncio.sleep(0)
        await clock.advance(timedelta(seconds=25))
        await until_closed(server)


async def test_a_stream_whose_window_stays_shut_is_reset(socket_path: Path) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        client.hello((4, 0))
        client.send(request(1, b"size:1000"))
        await client.read_until(HEADERS)
        await clock.advance(timedelta(seconds=65))
        reset = await client.read_until(RST_STREAM)
        assert (reset.stream, reset.code) == (1, 8)
        assert server.connections == 1


async def test_a_client_that_reads_nothing_is_dropped(socket_path: Path) -> None:
    clock = FakeClock()
    echo = Echo()
    async with serving(socket_path, echo, clock=clock) as server:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(socket_path))
        widest = (2**31 - 1 - 65_535).to_bytes(4, "big")
        deaf.sendall(
            PREFACE
            + frame(SETTINGS, payload=b"\0\4\x7f\xff\xff\xff")
            + frame(8, 0, 0, widest)
            + request(1, b"many:10000:10000", method="ServerStream")
        )
        await until(lambda: echo.produced >= 5)
        await clock.advance(timedelta(seconds=65))
        await until_closed(server)
        deaf.close()
    assert echo.produced < 200  # the generator was held back, not the memory filled


async def test_a_slow_reader_holds_the_generator_back(socket_path: Path) -> None:
    echo = Echo()
    async with serving(socket_path, echo), raw_client(socket_path) as client:
        client.hello((4, 10_000))
        client.send(request(1, b"many:1000:4000", method="ServerStream"))
        for _ in range(3):
            await client.read_until(DATA)
        for _ in range(200):
            await asyncio.sleep(0)
        assert echo.produced == 3  # two in the window, one that waits


async def test_a_slow_handler_holds_the_client_back(socket_path: Path) -> None:
    echo = Echo()
    async with serving(socket_path, echo, limits=Limits(stream_window=65_536)):
        channel = Channel.unix(socket_path)
        async with channel.bidi(BIDI, BytesValue) as call:
            await call.send(text("hold"))
            await asyncio.wait_for(echo.started.wait(), 20)
            sent = 0

            async def send_all() -> None:
                nonlocal sent
                for _ in range(100):
                    await call.send(text(b"x" * 10_000))
                    sent += 1
                call.done_sending()

            sending = asyncio.create_task(send_all())
            for _ in range(300):
                await asyncio.sleep(0)
            assert sent < 10  # a window of 64 KiB, not the megabyte that there is
            echo.release.set()
            received = [message.value async for message in call]
            await sending
        await channel.aclose()
    assert received == [b"hold", *[b"x" * 10_000] * 100]


# Limits of connections.


async def test_connections_beyond_the_limit_are_closed_at_once(socket_path: Path) -> None:
    async with serving(socket_path, limits=Limits(connections=2)) as server:
        async with raw_client(socket_path) as one, raw_client(socket_path) as two:
            one.hello()
            two.hello()
            assert await one.alive(1)
            assert await two.alive(1)
            async with raw_client(socket_path) as three:
                assert await three.read() is None
            assert await one.alive(3)
        await until_closed(server)
        async with raw_client(socket_path) as four:
            four.hello()
            assert await four.alive(1)


async def test_one_user_cannot_take_all_connections(socket_path: Path) -> None:
    limits = Limits(connections_per_peer=1)
    async with serving(socket_path, limits=limits), raw_client(socket_path) as one:
        one.hello()
        assert await one.alive(1)
        async with raw_client(socket_path) as two:
            assert await two.read() is None


async def test_one_address_cannot_take_all_connections() -> None:
    limits = Limits(connections_per_peer=1)
    async with (
        serving_tcp(FakeClock(), limits=limits) as (_, port),
        raw_tcp_client(port) as one,
        raw_tcp_client(port) as two,
    ):
        one.hello()
        assert await one.alive(1)
        assert await two.read() is None


# The server's end.


async def test_aclose_lets_running_calls_end(socket_path: Path) -> None:
    echo = Echo()
    channel = Channel.unix(socket_path)
    async with serving(socket_path, echo, grace=20):
        running = asyncio.create_task(channel.unary(UNARY, text("wait"), BytesValue, timeout=30))
        await asyncio.wait_for(echo.started.wait(), 20)
        asyncio.get_running_loop().call_soon(echo.release.set)
    assert (await running).value == b"wait"
    await channel.aclose()


async def test_aclose_ends_calls_that_go_on_for_ever(socket_path: Path) -> None:
    echo = Echo()
    channel = Channel.unix(socket_path)
    async with serving(socket_path, echo, grace=0.05):
        stream = channel.server_stream(STREAM, text("hang"), BytesValue)
        messages = await stream.__aenter__()
        await anext(messages)
    assert echo.cancelled.is_set()
    error = await refused(anext(messages))
    assert isinstance(error, Unavailable)
    await stream.__aexit__(None, None, None)
    await channel.aclose()


async def test_aclose_removes_the_socket_and_leaves_no_task(socket_path: Path) -> None:
    before = asyncio.all_tasks()
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(request(1, b"hang"))
        await client.drain()
    assert not socket_path.exists()
    assert asyncio.all_tasks() == before


# The socket's place.


async def test_the_socket_and_its_directory_get_their_modes(directory: Path) -> None:
    import os

    former = os.umask(0o077)
    try:
        server = Server([Service(ECHO, Echo())])
        path = directory / "new" / "api.sock"
        await server.listen_unix(path, mode=0o777, directory_mode=0o755)
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o777
    assert path.parent.stat().st_mode & 0o777 == 0o755
    await server.aclose()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(socket_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(socket_path))
    dead.close()
    async with serving(socket_path):
        second = Server([Service(ECHO, Echo())])
        with pytest.raises(FailedPrecondition, match="another process listens"):
            await second.listen_unix(socket_path, mode=0o600, directory_mode=0o755)
        await second.aclose()


async def test_a_file_that_is_no_socket_is_left_alone(socket_path: Path) -> None:
    socket_path.write_text("precious")
    server = Server([Service(ECHO, Echo())])
    with pytest.raises(FailedPrecondition, match="is no socket"):
        await server.listen_unix(socket_path, mode=0o600, directory_mode=0o755)
    assert socket_path.read_text() == "precious"
    with pytest.raises(InvalidArgument, match="longer than"):
        await server.listen_unix(Path("/tmp/" + "x" * 200), mode=0o600, directory_mode=0o755)
    await server.aclose()


async def test_a_port_that_is_taken_is_refused() -> None:
    async with serving_tcp(FakeClock()) as (_, port):
        server = Server([])
        with pytest.raises(FailedPrecondition, match="cannot listen"):
            await server.listen_tcp(
                "127.0.0.1", port, tls=None, verify_peer=None, max_connection_age=None
            )
        await server.aclose()


async def test_messages_of_a_call_that_has_ended_are_ignored(socket_path: Path) -> None:
    async with serving(socket_path), raw_client(socket_path) as client:
        client.hello()
        client.send(headers(1, method="NotThere"), frame(DATA, 0x1, 1, message(b"x")))
        await client.read_until(HEADERS)
        assert await client.alive(3)


async def test_a_client_that_said_goodbye_may_ask_once_more_and_is_closed_in_the_end(
    socket_path: Path,
) -> None:
    clock = FakeClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        client.hello()
        assert await client.alive(1)
        client.send(frame(GOAWAY, payload=bytes(8)), frame(PING, payload=b"question"))
        while (got := await client.read()) is not None and got.kind != PING:
            pass
        assert got is not None
        assert got.payload == b"question"
        await clock.advance(timedelta(seconds=12))
        assert [each for each in await client.read_all() if each.kind != SETTINGS] == []
        client.close()
        await until_closed(server)


class _ForgetfulClock(FakeClock):
    """Fails once when it is asked to sleep."""

    failed = False

    async def sleep(self, duration: timedelta) -> None:
        if not self.failed:
            self.failed = True
            raise ValueError("a bug")
        await super().sleep(duration)


async def test_the_bounds_of_time_hold_even_after_a_bug_in_the_housekeeping(
    socket_path: Path,
) -> None:
    clock = _ForgetfulClock()
    async with serving(socket_path, clock=clock) as server, raw_client(socket_path) as client:
        await client.read_until(SETTINGS)
        await clock.sleepers()
        await clock.advance(timedelta(seconds=12))
        await until_closed(server)
    assert clock.failed
