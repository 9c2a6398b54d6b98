from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.workload_attestor.k8s import build
from spire_py_plugins.workload_attestor.k8s.attestor import K8sWorkloadAttestor
from spire_py_plugins.workload_attestor.k8s.settings import K8sSettings, KubeletSettings

from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    SpireError,
    Unavailable,
)
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from tests.fakes.clock import FakeClock
from tests.fakes.kubelet import FakeKubelet, pod
from tests.integration.daemons import free_port

UID = "2c48913c-b29f-11e7-9350-020968147796"
OTHER_UID = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
OTHER_ID = "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2"
PID = 7


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kubelet() -> Iterator[FakeKubelet]:
    with FakeKubelet() as kubelet:
        yield kubelet


class Stage:
    """An attestor, and what it sees."""

    def __init__(self, proc: Path, port: int, clock: FakeClock) -> None:
        self.clock = clock
        self._proc = proc
        self._port = port
        self._attestors: list[K8sWorkloadAttestor] = []

    def process(self, cgroup: str) -> None:
        (self._proc / str(PID)).mkdir(exist_ok=True)
        (self._proc / str(PID) / "cgroup").write_text(f"0::{cgroup}\n")

    def attestor(self, *, labels: Namespaces | None = None, **settings: Any) -> K8sWorkloadAttestor:
        kubelet = KubeletSettings(port=self._port, secure=False)
        attestor = build(
            K8sSettings(kubelet=kubelet, **settings),
            clock=self.clock,
            proc=self._proc,
            namespace_labels=labels,
        )
        self._attestors.append(attestor)
        return attestor

    async def attest(self, *, labels: Namespaces | None = None, **settings: Any) -> list[str]:
        selectors = await self.attestor(labels=labels, **settings).attest(PID)
        assert {selector.type for selector in selectors} <= {"k8s"}
        return [selector.value for selector in selectors]

    async def close(self) -> None:
        for attestor in self._attestors:
            await attestor.aclose()


@pytest.fixture
async def stage(tmp_path: Path, kubelet: FakeKubelet, clock: FakeClock) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path, kubelet.port, clock)
    stage.process(f"/kubepods/besteffort/pod{UID}/{ID}")
    yield stage
    await stage.close()


class Namespaces:
    """Labels of namespaces, without an API server."""

    def __init__(self, labels: Mapping[str, str], error: SpireError | None = None) -> None:
        self._labels = labels
        self._error = error

    async def fetch(self, namespace: str) -> Mapping[str, str]:
        assert namespace == "shop"
        if self._error:
            raise self._error
        return self._labels

    async def missing_rules(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        pass


APP = [
    "container-name:app-0",
    f"container-image:registry.example.org/app@sha256:{0:064x}",
    "container-image:registry.example.org/app:v0",
]
POD = [
    "sa:seller",
    "ns:shop",
    "node-name:node-1",
    f"pod-uid:{UID}",
    "pod-name:web",
    "pod-image-count:2",
    "pod-init-image-count:1",
    f"pod-image:registry.example.org/app@sha256:{0:064x}",
    "pod-image:registry.example.org/app:v0",
    f"pod-image:registry.example.org/app@sha256:{1:064x}",
    "pod-image:registry.example.org/app:v1",
    f"pod-init-image:registry.example.org/init@sha256:{0:064x}",
    "pod-init-image:registry.example.org/init:v0",
    "pod-label:app:web",
    "pod-label:example.org/tier:front:end",
    "pod-owner:ReplicaSet:web-5d9",
    "pod-owner-uid:ReplicaSet:c1",
]


def full_pod() -> dict[str, Any]:
    return pod(
        *(UID, ID, OTHER_ID),
        init_container_ids=["c" * 64],
        labels={"app": "web", "example.org/tier": "front:end"},
        ownerReferences=[{"kind": "ReplicaSet", "name": "web-5d9", "uid": "c1"}],
    )


async def test_a_process_has_its_pods_and_containers_selectors(
    kubelet: FakeKubelet, stage: Stage
) -> None:
    kubelet.pods = [pod(OTHER_UID, "a" * 64), full_pod()]
    assert await stage.attest() == [*POD, *APP]


async def test_init_containers_count(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [full_pod()]
    stage.process(f"/kubepods/besteffort/pod{UID}/{'c' * 64}")
    assert (await stage.attest())[len(POD) :] == [
        "container-name:init-0",
        f"container-image:registry.example.org/init@sha256:{0:064x}",
        "container-image:registry.example.org/init:v0",
    ]


async def test_ephemeral_containers_do_not_count(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [pod(UID, OTHER_ID)]
    kubelet.pods[0]["status"]["ephemeralContainerStatuses"] = pod(UID, ID)["status"][
        "containerStatuses"
    ]
    with pytest.raises(DeadlineExceeded):
        await stage.attest(max_poll_attempts=1)


async def test_the_pod_need_not_be_known(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [pod(OTHER_UID, OTHER_ID), full_pod()]
    stage.process(f"/../crio-{ID}.scope")
    assert await stage.attest() == [*POD, *APP]


async def test_a_process_outside_of_containers_has_no_selectors(
    kubelet: FakeKubelet, stage: Stage
) -> None:
    stage.process("/system.slice/sshd.service")
    assert await stage.attest() == []
    assert kubelet.asked == []


async def test_container_selectors_can_be_left_out(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [full_pod()]
    assert await stage.attest(disable_container_selectors=True) == POD


async def test_a_pod_is_enough_without_container_selectors(
    kubelet: FakeKubelet, stage: Stage
) -> None:
    kubelet.pods = [pod(UID, "", name="starting")]
    assert "pod-name:starting" in await stage.attest(disable_container_selectors=True)


async def test_a_container_of_another_pod_is_not_taken(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [pod(OTHER_UID, ID)]
    with pytest.raises(DeadlineExceeded, match="no selectors found after max poll attempts"):
        await stage.attest(max_poll_attempts=1)


@pytest.mark.parametrize(
    "cgroup",
    [
        pytest.param(f"/kubepods/pod{UID}/{OTHER_ID}/{ID}", id="of the same pod"),
        pytest.param(f"/../crio-{OTHER_ID}.scope/{ID}", id="of a pod that is not named"),
        pytest.param(f"/kubepods/pod{'a' * 32}/{OTHER_ID}/{ID}", id="in a static pod"),
    ],
)
async def test_a_container_cannot_pass_for_another_by_a_cgroup_of_its_own(
    kubelet: FakeKubelet, stage: Stage, cgroup: str
) -> None:
    kubelet.pods = [full_pod()]
    stage.process(cgroup)
    with pytest.raises(FailedPrecondition, match="multiple container IDs found"):
        await stage.attest()


async def test_a_container_in_a_pods_container_is_of_the_pod(
    kubelet: FakeKubelet, stage: Stage
) -> None:
    kubelet.pods = [full_pod()]
    stage.process(f"/kubepods/pod{UID}/{OTHER_ID}/docker/{ID}")
    assert await stage.attest(disable_container_selectors=True) == POD


async def test_two_pods_with_one_container_are_refused(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [pod(UID, ID), pod(OTHER_UID, ID)]
    stage.process(f"/../{ID}")
    with pytest.raises(Internal, match="two pods found with same container Id"):
        await stage.attest()


async def test_contradicting_cgroups_are_refused(kubelet: FakeKubelet, stage: Stage) -> None:
    stage.process(f"/kubepods/pod{UID}/{ID}\n1:pids:/kubepods/pod{UID}/{OTHER_ID}")
    with pytest.raises(FailedPrecondition, match="multiple container IDs found"):
        await stage.attest()
    assert kubelet.asked == []


async def asked(kubelet: FakeKubelet) -> None:
    """Until the kubelet has got one more request."""
    assert await asyncio.to_thread(kubelet.was_asked.acquire, timeout=20)


async def test_a_container_is_waited_for(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [pod(UID, "")]
    attesting = asyncio.create_task(stage.attest())
    for _ in range(3):
        await asked(kubelet)
        await stage.clock.sleepers()
        await stage.clock.advance(timedelta(milliseconds=500))
    await asked(kubelet)
    await stage.clock.sleepers()
    kubelet.pods = [pod(UID, ID)]
    await stage.clock.advance(timedelta(milliseconds=500))
    assert "container-name:app-0" in await attesting
    assert len(kubelet.asked) == 5


async def test_waiting_ends(kubelet: FakeKubelet, stage: Stage) -> None:
    attesting = asyncio.create_task(stage.attest(max_poll_attempts=3))
    for _ in range(2):
        await asked(kubelet)
        await stage.clock.sleepers()
        await stage.clock.advance(timedelta(milliseconds=500))
    with pytest.raises(DeadlineExceeded, match="no selectors found after max poll attempts"):
        await attesting
    assert len(kubelet.asked) == 3


async def test_a_kubelet_that_refuses_is_asked_again(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.refusal = (500, "not yet")
    kubelet.pods = [pod(UID, ID)]
    attesting = asyncio.create_task(stage.attest())
    await asked(kubelet)
    await stage.clock.sleepers()
    kubelet.refusal = None
    await stage.clock.advance(timedelta(milliseconds=500))
    assert "ns:shop" in await attesting


async def test_the_last_refusal_is_told(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.refusal = (403, "Forbidden")
    with pytest.raises(Unavailable, match=r"403 Forbidden \(the agent's ClusterRole needs"):
        await stage.attest(max_poll_attempts=1)


async def test_many_processes_cost_one_request(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [full_pod()]
    attestor = stage.attestor()
    outcomes = await asyncio.gather(*(attestor.attest(PID) for _ in range(50)))
    assert len(set(outcomes)) == 1
    assert len(kubelet.asked) == 1


async def test_namespace_labels_are_told(kubelet: FakeKubelet, stage: Stage) -> None:
    kubelet.pods = [full_pod()]
    labels = Namespaces({"team": "web", "kubernetes.io/metadata.name": "shop"})
    assert (await stage.attest(labels=labels))[-2:] == [
        "ns-label:team:web",
        "ns-label:kubernetes.io/metadata.name:shop",
    ]


async def test_namespace_labels_that_cannot_be_had_are_an_error(
    kubelet: FakeKubelet, stage: Stage
) -> None:
    kubelet.pods = [full_pod()]
    labels = Namespaces({}, PermissionDenied("namespaces is forbidden"))
    with pytest.raises(Internal) as caught:
        await stage.attest(labels=labels)
    assert (
        caught.value.message == 'unable to get namespace labels for "shop": namespaces is forbidden'
    )


class Unix(WorkloadAttestor):
    async def attest(self, pid: int) -> tuple[Selector, ...]:
        return (Selector("unix", "uid:0"),)


async def test_other_attestors_count_while_the_kubelet_is_away(
    tmp_path: Path, clock: FakeClock
) -> None:
    stage = Stage(tmp_path, free_port(), clock)
    stage.process(f"/kubepods/pod{UID}/{ID}")
    attestor = stage.attestor(max_poll_attempts=1)
    selectors, failures = await WorkloadAttestation({"k8s": attestor, "unix": Unix()}).examine(PID)
    assert selectors == {Selector("unix", "uid:0")}
    assert "Connection refused" in failures["k8s"].message
    await stage.close()
