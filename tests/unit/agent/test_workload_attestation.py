from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.errors import Internal, Unauthenticated, Unavailable
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.transport.peer import UnixPeer
from spire_py.transport.processes import start_time
from tests.unit.agent.builders import selectors
from tests.unit.agent.endpoint import FakeWorkloadAttestor


def myself() -> UnixPeer:
    pid = os.getpid()
    return UnixPeer(pid=pid, uid=os.geteuid(), gid=os.getegid(), started=start_time(pid))


def failing() -> FakeWorkloadAttestor:
    attestor = FakeWorkloadAttestor()
    attestor.error = Internal("kubelet is away")
    return attestor


class Hanging(WorkloadAttestor):
    async def attest(self, pid: int) -> tuple[Selector, ...]:
        await asyncio.Event().wait()
        return ()


async def test_the_selectors_of_all_attestors_are_put_together() -> None:
    attestation = WorkloadAttestation(
        {
            "unix": FakeWorkloadAttestor("unix:uid:1", "unix:gid:2"),
            "k8s": FakeWorkloadAttestor("k8s:ns:x"),
        }
    )
    assert await attestation.attest(myself()) == selectors("unix:uid:1", "unix:gid:2", "k8s:ns:x")


async def test_one_that_fails_does_not_take_the_others_along(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attestation = WorkloadAttestation(
        {"unix": FakeWorkloadAttestor("unix:uid:1"), "k8s": failing()}
    )
    assert await attestation.attest(myself()) == selectors("unix:uid:1")


class Faulty(WorkloadAttestor):
    async def attest(self, pid: int) -> tuple[Selector, ...]:
        raise ZeroDivisionError


async def test_one_with_a_fault_does_not_take_the_others_along() -> None:
    attestation = WorkloadAttestation(
        {"unix": FakeWorkloadAttestor("unix:uid:1"), "mine": Faulty()}
    )
    assert await attestation.attest(myself()) == selectors("unix:uid:1")


async def test_one_with_a_fault_alone_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await WorkloadAttestation({"mine": Faulty()}).attest(myself())


async def test_one_that_hangs_is_given_up() -> None:
    attestation = WorkloadAttestation(
        {"unix": FakeWorkloadAttestor("unix:uid:1"), "k8s": Hanging()},
        max_duration=timedelta(milliseconds=20),
    )
    assert await attestation.attest(myself()) == selectors("unix:uid:1")


async def test_a_caller_whom_the_agent_cannot_see_is_refused_and_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attestor = FakeWorkloadAttestor("unix:uid:1")
    attestation = WorkloadAttestation({"unix": attestor})
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await attestation.attest(UnixPeer(pid=0, uid=os.geteuid(), gid=os.getegid()))
    assert attestor.asked == []
    assert capsys.readouterr().out.count("the agent's pod needs hostPID: true") == 3


@pytest.mark.parametrize("count", [1, 2])
async def test_when_all_fail_nothing_is_known(count: int) -> None:
    attestation = WorkloadAttestation({f"attestor {number}": failing() for number in range(count)})
    with pytest.raises(Unavailable) as refusal:
        await attestation.attest(myself())
    assert refusal.value.message == "workload attestation failed"


async def test_an_attestor_that_knows_nothing_has_not_failed() -> None:
    attestation = WorkloadAttestation({"unix": FakeWorkloadAttestor(), "k8s": failing()})
    assert await attestation.attest(myself()) == frozenset()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def peer_of(child: subprocess.Popen[bytes]) -> UnixPeer:
    return UnixPeer(
        pid=child.pid, uid=os.geteuid(), gid=os.getegid(), started=start_time(child.pid)
    )


class EndsProcess(FakeWorkloadAttestor):
    """The process ends while its facts are read."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        super().__init__("unix:uid:1")
        self.child = child

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        self.child.kill()
        await asyncio.to_thread(self.child.wait)
        return await super().attest(pid)


async def test_a_process_that_ended_before_is_not_looked_at(
    child: subprocess.Popen[bytes],
) -> None:
    peer = peer_of(child)
    child.kill()
    child.wait()
    attestor = FakeWorkloadAttestor("unix:uid:1")
    with pytest.raises(Unauthenticated, match="existence of the original caller"):
        await WorkloadAttestation({"unix": attestor}).attest(peer)
    assert attestor.asked == []


async def test_facts_of_a_process_that_ended_meanwhile_do_not_count(
    child: subprocess.Popen[bytes],
) -> None:
    attestation = WorkloadAttestation({"unix": EndsProcess(child)})
    with pytest.raises(Unauthenticated, match="existence of the original caller"):
        await attestation.attest(peer_of(child))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uid": 54321}, id="another user"),
        pytest.param({"gid": 54321}, id="another group"),
        pytest.param({"started": 1}, id="another start time: the pid was used again"),
    ],
)
async def test_a_pid_that_is_not_the_callers_is_refused(
    child: subprocess.Popen[bytes], changes: dict[str, int]
) -> None:
    peer = peer_of(child)
    values = {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid, "started": peer.started}
    attestation = WorkloadAttestation({"unix": FakeWorkloadAttestor("unix:uid:1")})
    with pytest.raises(Unauthenticated):
        await attestation.attest(UnixPeer(**{**values, **changes}))  # type: ignore[arg-type]
