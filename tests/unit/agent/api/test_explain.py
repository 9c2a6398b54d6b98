from __future__ import annotations

import os

import pytest

from spire_py._proto.spire_py import explain_pb2
from spire_py.agent.api.explain import ExplainServicer
from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.errors import Internal, InvalidArgument, NotFound, PermissionDenied
from spire_py.runtime.clock import SystemClock
from spire_py.transport import CallContext
from spire_py.transport.peer import Peer, UnixPeer
from spire_py.transport.processes import start_time
from tests.unit.agent.builders import entry, selectors
from tests.unit.agent.endpoint import Endpoint

METHOD = "/spire_py.explain.v1.Explain/ExplainWorkload"
Response = explain_pb2.ExplainWorkloadResponse


async def explain(endpoint: Endpoint, pid: int = 0) -> Response:
    request = explain_pb2.ExplainWorkloadRequest(pid=pid)
    return await endpoint.channel.unary(METHOD, request, Response, timeout=20)


def missing(response: Response) -> dict[str, list[str]]:
    return {
        item.entry_id: [f"{selector.type}:{selector.value}" for selector in item.missing]
        for item in response.candidates
    }


async def test_matches_come_first_then_what_lacks_least(endpoint: Endpoint) -> None:
    endpoint.attestor.selectors = selectors("unix:uid:1000", "unix:gid:5", "k8s:ns:shop")
    endpoint.register(
        entry("far", "k8s:ns:other", "k8s:sa:other"),
        entry("match", "unix:uid:1000"),
        entry("near", "unix:uid:1000", "k8s:ns:shop", "k8s:sa:shop"),
        entry("nearer", "unix:uid:1000", "unix:gid:5", "k8s:ns:shop", "k8s:pod-label:a:b"),
    )
    response = await explain(endpoint)
    assert missing(response) == {
        "match": [],
        "nearer": ["k8s:pod-label:a:b"],
        "near": ["k8s:sa:shop"],
        "far": ["k8s:ns:other", "k8s:sa:other"],
    }
    assert list(missing(response)) == ["match", "nearer", "near", "far"]
    assert response.candidates[0].has_x509_svid
    assert response.entries_count == 4
    assert response.pid == os.getpid()
    assert response.last_sync_success


async def test_only_the_nearest_are_told(endpoint: Endpoint) -> None:
    endpoint.authorize(*(entry(f"e{number}", "k8s:ns:x") for number in range(50)))
    assert len((await explain(endpoint)).candidates) == 10


async def test_attestors_that_failed_are_named(endpoint: Endpoint) -> None:
    endpoint.attestor.error = Internal("kubelet is away")
    response = await explain(endpoint)
    [failure] = response.failed_attestors
    assert (failure.name, failure.error) == ("fake", "kubelet is away")


async def test_another_process_can_be_asked_about(endpoint: Endpoint) -> None:
    assert (await explain(endpoint, os.getppid())).pid == os.getppid()
    assert endpoint.attestor.asked == [os.getppid()]


async def test_a_process_that_is_not_there_is_said_so(endpoint: Endpoint) -> None:
    endpoint.attestor.selectors = frozenset()
    with pytest.raises(NotFound):
        await explain(endpoint, 2**31 - 1)
    with pytest.raises(InvalidArgument):
        await explain(endpoint, -1)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uid": 54321}, id="another user"),
        pytest.param({"pid": 2**31 - 1}, id="a process of which nothing is known"),
        pytest.param({"started": 1}, id="a process that ended"),
    ],
)
async def test_workloads_learn_nothing_of_each_other(
    endpoint: Endpoint, changes: dict[str, int]
) -> None:
    pid = os.getpid()
    values = {"pid": pid, "uid": os.geteuid(), "gid": os.getegid(), "started": start_time(pid)}
    peer = UnixPeer(**{**values, **changes})  # type: ignore[arg-type]
    context = CallContext(method=METHOD, peer=Peer("@", unix=peer), headers=[], clock=SystemClock())
    api = ExplainServicer(
        examiner=WorkloadAttestation({}), known=endpoint.cache, last_sync=endpoint.clock.now
    )
    with pytest.raises(PermissionDenied):
        await api.explain_workload(explain_pb2.ExplainWorkloadRequest(), context)
    assert endpoint.attestor.asked == []
