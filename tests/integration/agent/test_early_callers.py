"""Workloads and Envoys that come before the agent can serve: they wait, and get what they want."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py._proto import workload_pb2
from spire_py._proto.envoy import discovery_pb2
from spire_py._proto.grpc import health_pb2
from spire_py.agent.api.early import EarlyServices
from spire_py.errors import DeadlineExceeded, Internal, InvalidArgument, SpireError
from spire_py.transport import Channel
from tests.integration.agent.world import HEADER, ME, World

SDS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@pytest.fixture
async def early(world: World) -> AsyncIterator[World]:
    """An agent that waits for its server."""
    world.server.add_entry("a", ME)
    await world.server.stop()
    task = world.start()
    await world.clock.sleepers(1)
    yield world
    task.cancel()
    with suppress(asyncio.CancelledError, SpireError):
        await task


async def start_server(world: World) -> None:
    await world.server.start()
    await world.clock.advance(timedelta(seconds=30))


async def first_secret(channel: Channel) -> str:
    async with channel.bidi(SDS, discovery_pb2.DiscoveryResponse) as call:
        await call.send(discovery_pb2.DiscoveryRequest(type_url=SECRET, resource_names=["default"]))
        return (await anext(call)).version_info


async def test_who_comes_early_is_served_as_soon_as_the_agent_can(early: World) -> None:
    async with early.workload() as envoy:
        waiting = [
            asyncio.create_task(early.ids()),
            asyncio.create_task(
                early.call(
                    "FetchJWTSVID",
                    workload_pb2.JWTSVIDRequest(audience=["x"]),
                    workload_pb2.JWTSVIDResponse,
                )
            ),
            asyncio.create_task(first_secret(envoy)),
        ]
        # The health service answers at once: it shows that the others have been heard by now.
        assert await health(early) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not any(each.done() for each in waiting)
        await start_server(early)
        ids, tokens, version = await asyncio.gather(*waiting)
    assert ids == ["spiffe://example.org/a"]
    assert tokens.svids[0].svid
    assert version
    assert await health(early) == health_pb2.HealthCheckResponse.SERVING


async def health(world: World) -> int:
    async with world.workload() as channel:
        response = await channel.unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(),
            health_pb2.HealthCheckResponse,
            timeout=20,
        )
    return response.status


async def test_nobody_waits_longer_than_he_wants(early: World) -> None:
    async with early.workload() as channel:
        with pytest.raises(DeadlineExceeded):
            await channel.unary(
                "/SpiffeWorkloadAPI/FetchJWTBundles",
                workload_pb2.JWTBundlesRequest(),
                workload_pb2.JWTBundlesResponse,
                timeout=0.05,
                metadata=HEADER,
            )


async def test_who_lacks_the_header_does_not_wait(early: World) -> None:
    async with early.workload() as channel:
        with pytest.raises(InvalidArgument, match="security header missing"):
            await channel.unary(
                "/SpiffeWorkloadAPI/FetchJWTSVID",
                workload_pb2.JWTSVIDRequest(audience=["x"]),
                workload_pb2.JWTSVIDResponse,
                timeout=20,
            )


async def test_requests_are_kept_as_they_were_sent(early: World) -> None:
    """Parsed, those of an attacker may take twenty times as much memory."""
    service = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"]
    (kept,) = EarlyServices([service]).services
    assert kept.methods[b"/SpiffeWorkloadAPI/FetchJWTSVID"].parse(b"\x0a\xff") == b"\x0a\xff"

    async with early.workload() as channel:
        waiting = asyncio.create_task(
            channel.unary(
                "/SpiffeWorkloadAPI/FetchJWTSVID",
                BytesValue(value=b"\xff"),  # an audience that is no UTF-8
                workload_pb2.JWTSVIDResponse,
                timeout=20,
                metadata=HEADER,
            )
        )
        await health(early)
        await start_server(early)
        with pytest.raises(Internal, match="error unmarshalling request"):
            await waiting


async def test_an_agent_that_gives_up_lets_go_of_who_waits(world: World) -> None:
    await world.server.stop()
    task = world.start()
    await world.clock.sleepers(1)
    waiting = asyncio.create_task(world.ids())
    await health(world)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    with pytest.raises(SpireError):
        await asyncio.wait_for(waiting, 20)
    assert not world.socket.exists()


async def test_a_socket_that_cannot_be_had_costs_no_token(world: World) -> None:
    world.socket.mkdir(parents=True)
    with pytest.raises(SpireError, match="is no socket"):
        await asyncio.wait_for(world.start(), 20)
    assert world.server.presented_tokens == []
