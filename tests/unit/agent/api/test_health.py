from __future__ import annotations

from pathlib import Path

import pytest

from spire_py._proto.grpc import health_pb2
from spire_py.agent.health import WorkloadAPIProbe
from spire_py.errors import Internal, InvalidArgument
from tests.unit.agent.builders import entry
from tests.unit.agent.endpoint import Endpoint

CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def check(endpoint: Endpoint, service: str = "") -> health_pb2.HealthCheckResponse:
    request = health_pb2.HealthCheckRequest(service=service)
    return await endpoint.channel.unary(CHECK, request, health_pb2.HealthCheckResponse, timeout=20)


async def test_an_agent_without_identity_of_its_own_is_healthy(endpoint: Endpoint) -> None:
    assert (await check(endpoint)).status == SERVING


async def test_one_with_identity_is_healthy(endpoint: Endpoint) -> None:
    endpoint.register(entry("a"))
    assert (await check(endpoint)).status == SERVING


async def test_one_that_cannot_attest_is_not(endpoint: Endpoint) -> None:
    endpoint.attestor.error = Internal("no")
    assert (await check(endpoint)).status == NOT_SERVING


async def test_single_services_have_no_health(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await check(endpoint, "SpiffeWorkloadAPI")
    assert refusal.value.message == "per-service health is not supported"


async def test_the_listener_is_told_the_same(endpoint: Endpoint) -> None:
    before = await endpoint.probe.state()
    assert (before.live, before.ready, before.started) == (True, False, False)
    endpoint.probe.started = True
    healthy = await endpoint.probe.state()
    assert (healthy.live, healthy.ready) == (True, True)
    endpoint.attestor.error = Internal("no")
    ill = await endpoint.probe.state()
    assert (ill.live, ill.ready) == (False, False)
    assert ill.ready_details == {"make_new_x509_err": "workload attestation failed"}


async def test_a_socket_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    probe = WorkloadAPIProbe(tmp_path / "none.sock")
    assert await probe.fault()
    assert not await probe.is_healthy()


async def test_without_a_workload_api_there_is_nothing_to_find_out() -> None:
    probe = WorkloadAPIProbe(None)
    assert await probe.is_healthy()
