"""What only local callers may ask: debug, logger, health."""

from __future__ import annotations

import asyncio
import re
import stat

import pytest

from spire_py._proto.grpc import health_pb2
from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import debug_pb2, logger_pb2
from spire_py._proto.spire_py import changes_pb2
from spire_py.errors import SpireError, StatusCode

from .conftest import RunningServer

LOGGER = "/spire.api.server.logger.v1.Logger/"
HEALTH = "/grpc.health.v1.Health/"
SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_debug_tells_counts_and_the_chain_of_the_server(server: RunningServer) -> None:
    await server.create_entry("/parent", "/workload")
    await server.attest()
    info = await server.call(
        "/spire.api.server.debug.v1.Debug/GetInfo",
        debug_pb2.GetInfoRequest(),
        debug_pb2.GetInfoResponse,
    )
    assert (info.agents_count, info.entries_count, info.federated_bundles_count) == (1, 1, 1)
    assert [each.id.path for each in info.svid_chain] == ["/spire/server", ""]
    leaf, root = (each.subject for each in info.svid_chain)
    assert leaf == "O=SPIRE,C=US"
    assert re.fullmatch(r"SERIALNUMBER=\d+,C=US", root)


async def test_the_socket_and_its_folder_are_for_operators_only(server: RunningServer) -> None:
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (server.socket, server.socket.parent)]
    assert modes == [0o770, 0o750]


async def test_the_log_level_is_changed_and_put_back(server: RunningServer) -> None:
    async def state(method: str, request: object) -> tuple[int, int]:
        answer = await server.call(LOGGER + method, request, types_pb2.Logger)  # type: ignore[arg-type]
        return answer.current_level, answer.launch_level

    level = types_pb2.LogLevel
    assert await state("GetLogger", logger_pb2.GetLoggerRequest()) == (level.INFO, level.INFO)
    wanted = logger_pb2.SetLogLevelRequest(new_level=level.DEBUG)
    assert await state("SetLogLevel", wanted) == (level.DEBUG, level.INFO)
    assert await state("ResetLogLevel", logger_pb2.ResetLogLevelRequest()) == (
        level.INFO,
        level.INFO,
    )


@pytest.mark.parametrize(
    ("number", "message"),
    [
        pytest.param(0, "newLevel value cannot be LogLevel_UNSPECIFIED", id="unspecified"),
        pytest.param(99, "unsupported log level", id="unknown"),
    ],
)
async def test_a_bad_log_level_is_refused(server: RunningServer, number: int, message: str) -> None:
    with pytest.raises(SpireError) as refused:
        await server.call(
            LOGGER + "SetLogLevel",
            logger_pb2.SetLogLevelRequest(new_level=number),  # type: ignore[arg-type]
            types_pb2.Logger,
        )
    assert (refused.value.code, refused.value.message) == (StatusCode.INVALID_ARGUMENT, message)


async def test_health_is_checked_listed_and_watched(server: RunningServer) -> None:
    request = health_pb2.HealthCheckRequest()
    checked = await server.call(HEALTH + "Check", request, health_pb2.HealthCheckResponse)
    listed = await server.call(
        HEALTH + "List", health_pb2.HealthListRequest(), health_pb2.HealthListResponse
    )
    async with server.admin.server_stream(
        HEALTH + "Watch", request, health_pb2.HealthCheckResponse, timeout=20
    ) as changes:
        watched = await anext(aiter(changes))
    assert (checked.status, listed.statuses[""].status, watched.status) == (SERVING,) * 3


async def test_the_health_of_a_part_is_not_told(server: RunningServer) -> None:
    with pytest.raises(SpireError) as refused:
        await server.call(
            HEALTH + "Check",
            health_pb2.HealthCheckRequest(service="x"),
            health_pb2.HealthCheckResponse,
        )
    assert (refused.value.code, refused.value.message) == (
        StatusCode.INVALID_ARGUMENT,
        "per-service health is not supported",
    )


async def test_streams_that_have_no_end_do_not_hold_up_the_close(server: RunningServer) -> None:
    async with server.admin.server_stream(
        HEALTH + "Watch",
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckResponse,
        timeout=20,
    ) as health:
        assert (await anext(aiter(health))).status == SERVING
        channel = server.port(await server.attest())
        async with channel.server_stream(
            "/spire_py.changes.v1.Changes/Watch",
            changes_pb2.WatchRequest(),
            changes_pb2.Change,
            timeout=20,
        ) as changes:
            await anext(aiter(changes))
            async with asyncio.timeout(5):
                await server.endpoints.aclose()
            assert [change async for change in changes] == []
