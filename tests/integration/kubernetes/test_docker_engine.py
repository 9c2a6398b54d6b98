"""Containers of a real Docker engine are told by their real cgroups."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from spire_py_plugins.workload_attestor import docker, k8s

from spire_py.errors import FailedPrecondition, NotFound
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.spiffe.id import TrustDomain
from tests.fakes.kubelet import FakeKubelet, pod
from tests.integration.kubernetes.engines import (
    IMAGE,
    IMAGE_ENV,
    IMAGE_LABEL,
    Engine,
    docker_engine,
    place,
)
from tests.peers.plugin import peer_for_module

pytestmark = pytest.mark.peer("dockerd")
CONTEXT = PluginContext(TrustDomain("example.org"))


@pytest.fixture(scope="module")
def one_engine() -> Iterator[Engine]:
    with docker_engine(peer_for_module("dockerd")) as engine:
        yield engine


@pytest.fixture
def engine(one_engine: Engine) -> Iterator[Engine]:
    yield one_engine
    one_engine.remove_all()


def of_image(engine: Engine) -> set[str]:
    """What every container of the image has."""
    return {
        f"docker:label:{IMAGE_LABEL}",
        f"docker:env:{IMAGE_ENV}",
        f"docker:image_id:{IMAGE}",
        f"docker:image_config_digest:{engine.image_digest()}",
    }


def attestor(engine: Engine, **settings: Any) -> WorkloadAttestor:
    return docker.configure({"docker_socket_path": f"unix://{engine.socket}", **settings}, CONTEXT)


async def attest(by: WorkloadAttestor, pid: int) -> set[str]:
    selectors = [str(selector) for selector in await by.attest(pid)]
    assert len(set(selectors)) == len(selectors)
    return set(selectors)


@pytest.mark.parametrize("namespace", ["host", "private"])
async def test_a_container_has_its_selectors(engine: Engine, namespace: str) -> None:
    container, pid = engine.start(
        {"CgroupnsMode": namespace}, Labels={"app": "web"}, Env=["MODE=a=b"]
    )
    expected = of_image(engine) | {"docker:label:app:web", "docker:env:MODE=a=b"}
    assert await attest(attestor(engine), pid) == expected
    assert await attest(attestor(engine, docker_version="1.41"), pid) == expected
    # One that joins it later is in it as well.
    assert await attest(attestor(engine), engine.execute(container)) == expected


async def test_each_container_has_its_own_selectors(engine: Engine) -> None:
    _, web = engine.start(Labels={"app": "web"})
    _, shop = engine.start(Labels={"app": "shop"}, Image=engine.image_digest())
    assert await attest(attestor(engine), web) == of_image(engine) | {"docker:label:app:web"}
    assert await attest(attestor(engine), shop) == (
        of_image(engine) - {f"docker:image_id:{IMAGE}"}
        | {"docker:label:app:shop", f"docker:image_id:{engine.image_digest()}"}
    )
    assert await attest(attestor(engine), os.getpid()) == set()


async def test_nothing_is_told_of_a_container_that_ended(engine: Engine) -> None:
    container, pid = engine.start()
    by = attestor(engine)
    assert await attest(by, pid) == of_image(engine)
    engine.end(container)
    assert await attest(by, pid) == set()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The pid of a process in no container."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process.pid
        process.kill()


async def test_a_container_that_the_engine_does_not_know_is_refused(
    engine: Engine, sleeper: int
) -> None:
    place(sleeper, f"{engine.parent}/forged/{os.urandom(32).hex()}")
    with pytest.raises(NotFound, match="No such container"):
        await attest(attestor(engine), sleeper)


async def test_a_container_cannot_pass_for_another(engine: Engine) -> None:
    own, forger = engine.start(Labels={"app": "forger"})
    other, _ = engine.start(Labels={"app": "other"})
    # As one that may make cgroups does it, below its own.
    place(forger, f"{engine.parent}/engine/{own}/{other}")
    with pytest.raises(FailedPrecondition, match="multiple container IDs"):
        await attest(attestor(engine), forger)


@pytest.mark.parametrize("namespace", ["host", "private"])
async def test_a_container_below_a_pods_cgroup_is_told_by_the_kubelet(
    engine: Engine, namespace: str
) -> None:
    uid = str(uuid.uuid4())
    container, pid = engine.start(
        {"CgroupnsMode": namespace}, below=f"/kubepods/besteffort/pod{uid}"
    )
    await assert_told_by_both(engine, uid, container, pid)


async def test_containers_are_told_where_systemd_places_them(engine: Engine) -> None:
    """There is no systemd where containers are tested: its paths are taken without it."""
    container, pid = engine.start(Labels={"app": "web"})
    place(pid, f"{engine.parent}/system.slice/docker-{container}.scope")
    assert await attest(attestor(engine), pid) == of_image(engine) | {"docker:label:app:web"}

    uid = str(uuid.uuid4())
    slices = ("kubepods", "kubepods-besteffort", f"kubepods-besteffort-pod{uid.replace('-', '_')}")
    path = "/".join(f"{each}.slice" for each in slices)
    container, pid = engine.start()
    place(pid, f"{engine.parent}/{path}/docker-{container}.scope")
    await assert_told_by_both(engine, uid, container, pid)


async def assert_told_by_both(engine: Engine, uid: str, container: str, pid: int) -> None:
    assert await attest(attestor(engine), pid) == of_image(engine)
    with FakeKubelet() as kubelet:
        kubelet.pods = [pod(str(uuid.uuid4()), os.urandom(32).hex()), pod(uid, container)]
        by_kubelet = k8s.configure({"kubelet_read_only_port": kubelet.port}, CONTEXT)
        selectors = await attest(by_kubelet, pid)
        await by_kubelet.aclose()
    assert {f"k8s:pod-uid:{uid}", "k8s:container-name:app-0", "k8s:ns:shop"} <= selectors


async def test_containers_are_found_by_the_patterns_of_guides(engine: Engine) -> None:
    _, by_cgroupfs = engine.start(below="/docker", Labels={"app": "web"})
    _, in_slice = engine.start(below="/my.slice/some.scope", Labels={"app": "slice"})
    container, by_systemd = engine.start(Labels={"app": "systemd"})
    place(by_systemd, f"{engine.parent}/system.slice/docker-{container}.scope")
    # As in guides, below the cgroup of these tests.
    patterns = [f"{engine.parent}/docker/<id>", f"{engine.parent}/my.slice/*/<id>"]
    by = attestor(engine, use_new_container_locator=False, container_id_cgroup_matchers=patterns)
    assert "docker:label:app:web" in await attest(by, by_cgroupfs)
    assert "docker:label:app:slice" in await attest(by, in_slice)
    assert await attest(by, by_systemd) == set()
