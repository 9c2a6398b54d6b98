from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire_py.errors import FailedPrecondition
from spire_py.transport.http import HttpHandler, HttpLimits, HttpResponse, HttpServer

SHORT = timedelta(milliseconds=50)
DEFAULT_LIMITS = HttpLimits()


async def hello() -> HttpResponse:
    return HttpResponse(200, b"hello", "text/x-test")


@asynccontextmanager
async def serving(
    handlers: Mapping[str, HttpHandler] | None = None,
    *,
    fallback: HttpHandler | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> AsyncIterator[tuple[HttpServer, int]]:
    server = HttpServer(handlers or {"/live": hello}, fallback=fallback, limits=limits)
    _, port = await server.listen_tcp("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.aclose()


async def exchange(port: int, request: bytes) -> bytes:
    """All that the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of one answer in a connection that goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head, await reader.readexactly(length)


async def test_get_is_answered() -> None:
    async with serving() as (_, port):
        response = await exchange(port, get("/live", "Connection: close"))
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/x-test" in head
    assert body == b"hello"


async def test_query_does_not_matter() -> None:
    async with serving() as (_, port):
        response = await exchange(port, get("/live?x=1", "Connection: close"))
    assert response.startswith(b"HTTP/1.1 200")


async def test_connection_is_kept() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(get("/live"))
            head, body = await answer(reader)
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b"hello"
        writer.close()


async def test_requests_may_come_all_at_once() -> None:
    async with serving() as (_, port):
        response = await exchange(port, get("/live") * 2 + get("/x", "Connection: close"))
    assert response.count(b"HTTP/1.1 200") == 2
    assert response.count(b"HTTP/1.1 404") == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(get("/other", "Connection: close"), b"404", id="unknown path"),
        pytest.param(
            b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"405", id="POST"
        ),
        pytest.param(
            b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
            b"405",
            id="POST without its body",
        ),
        pytest.param(b"HEAD /live HTTP/1.0\r\n\r\n", b"405", id="HEAD"),
        pytest.param(b"rubbish\r\n\r\n", b"400", id="rubbish"),
        pytest.param(b"GET /live HTTP/1.1\r\n\r\n", b"400", id="no Host"),
        pytest.param(
            b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431", id="large"
        ),
    ],
)
async def test_what_is_not_served_is_refused(request_bytes: bytes, status: bytes) -> None:
    async with serving() as (_, port):
        response = await exchange(port, request_bytes)
    assert response.startswith(b"HTTP/1.1 " + status)
    assert response.count(b"HTTP/1.1") == 1


async def test_fallback_answers_all_other_paths() -> None:
    async with serving({}, fallback=hello) as (_, port):
        response = await exchange(port, get("/any/path", "Connection: close"))
    assert response.startswith(b"HTTP/1.1 200")


async def test_connection_that_says_nothing_is_dropped() -> None:
    async with serving(limits=HttpLimits(header_timeout=SHORT)) as (_, port):
        assert await exchange(port, b"") == b""


async def test_headers_that_trickle_are_dropped() -> None:
    async with serving(limits=HttpLimits(header_timeout=SHORT)) as (_, port):
        assert await exchange(port, b"GET /live HTTP/1.1\r\nHost: x\r\n") == b""


async def test_handler_that_hangs_is_unavailable() -> None:
    async def hang() -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving({"/x": hang}, limits=HttpLimits(handler_timeout=SHORT)) as (_, port):
        response = await exchange(port, get("/x", "Connection: close"))
    assert response.startswith(b"HTTP/1.1 503")


async def test_reader_that_does_not_read_is_dropped() -> None:
    async def large() -> HttpResponse:
        return HttpResponse(200, b"x" * 50_000_000)

    limits = HttpLimits(write_timeout=SHORT, connections=1)
    async with serving({"/x": large, "/live": hello}, limits=limits) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/x"))
        await reader.readuntil(b"\r\n\r\n")
        # The one place is free again as soon as the slow reader is gone.
        async with asyncio.timeout(30):
            while not await exchange(port, get("/live", "Connection: close")):
                pass
        writer.close()


async def test_newcomer_takes_the_place_of_the_idlest() -> None:
    async with serving(limits=HttpLimits(connections=2)) as (_, port):
        first = await asyncio.open_connection("127.0.0.1", port)
        first[1].write(get("/live"))
        await answer(first[0])
        second = await asyncio.open_connection("127.0.0.1", port)
        second[1].write(get("/live"))
        await answer(second[0])
        response = await exchange(port, get("/live", "Connection: close"))
        assert response.startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            assert await first[0].read() == b""
        second[1].write(get("/live"))
        head, _ = await answer(second[0])
        assert head.startswith(b"HTTP/1.1 200")
        first[1].close()
        second[1].close()


async def test_newcomer_is_turned_away_where_all_are_busy() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> HttpResponse:
        asked.set()
        await go_on.wait()
        return await hello()

    async with serving({"/x": wait}, limits=HttpLimits(connections=1)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/x"))
        await asked.wait()
        assert await exchange(port, get("/x")) == b""
        go_on.set()
        assert (await answer(reader))[1] == b"hello"
        writer.close()


async def test_answer_under_way_ends_when_the_server_closes() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> HttpResponse:
        asked.set()
        await go_on.wait()
        return await hello()

    async with serving({"/x": wait}) as (server, port):
        task = asyncio.create_task(exchange(port, get("/x")))
        idle = asyncio.create_task(exchange(port, b""))
        await asked.wait()
        closing = asyncio.create_task(server.aclose(timedelta(seconds=30)))
        assert await idle == b""
        go_on.set()
        response = await task
        await closing
    assert b"connection: close" in response.lower()
    assert response.endswith(b"hello")


async def test_answer_that_takes_too_long_is_cut_when_the_server_closes() -> None:
    asked = asyncio.Event()

    async def hang() -> HttpResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving({"/x": hang}) as (server, port):
        task = asyncio.create_task(exchange(port, get("/x")))
        await asked.wait()
        await server.aclose(SHORT)
        assert await task == b""


async def test_address_in_use_is_told() -> None:
    async with serving() as (_, port):
        with pytest.raises(FailedPrecondition, match="cannot listen on"):
            await HttpServer({}).listen_tcp("127.0.0.1", port)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=200)
    | st.text("GETPOST /live HTTP/1.0\r\nHost: x:,;%", max_size=120).map(str.encode)
)
def test_any_bytes_are_answered_or_dropped(request_bytes: bytes) -> None:
    async def run() -> None:
        async with serving(limits=HttpLimits(header_timeout=timedelta(milliseconds=5))) as (
            _,
            port,
        ):
            await exchange(port, request_bytes)
            response = await exchange(port, get("/live", "Connection: close"))
            assert response.startswith(b"HTTP/1.1 200") or not response

    asyncio.run(run())
