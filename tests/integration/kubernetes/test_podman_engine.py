"""Containers of a real Podman are told by their real cgroups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.workload_attestor import docker

from spire_py.errors import Unavailable
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain
from tests.integration.kubernetes.engines import (
    IMAGE,
    IMAGE_ENV,
    IMAGE_LABEL,
    Engine,
    place,
    podman_engine,
)
from tests.peers.plugin import peer_for_module

pytestmark = pytest.mark.peer("podman")
OF_A_USER = "/user.slice/user-4711.slice/user@4711.service/user.slice/podman"


@pytest.fixture(scope="module")
def one_engine() -> Iterator[Engine]:
    with podman_engine(peer_for_module("podman")) as engine:
        yield engine


@pytest.fixture
def engine(one_engine: Engine) -> Iterator[Engine]:
    yield one_engine
    one_engine.remove_all()


async def attest(pid: int, tmp_path: Path, **sockets: Any) -> set[str]:
    """What is told of a process; the sockets that are not named lead nowhere."""
    nowhere = {
        "docker_socket_path": f"unix://{tmp_path}/docker.sock",
        "podman_socket_path": f"unix://{tmp_path}/podman.sock",
        "podman_socket_path_template": f"unix://{tmp_path}/%d/podman.sock",
    }
    by = docker.configure({**nowhere, **sockets}, PluginContext(TrustDomain("example.org")))
    return {str(selector) for selector in await by.attest(pid)}


def expected(engine: Engine) -> set[str]:
    return {
        "docker:label:app:web",
        "docker:env:MODE=a=b",
        f"docker:label:{IMAGE_LABEL}",
        f"docker:env:{IMAGE_ENV}",
        f"docker:image_id:docker.io/library/{IMAGE}",
        f"docker:image_config_digest:{engine.image_digest()}",
    }


def start(engine: Engine, namespace: str, **options: Any) -> tuple[str, int]:
    host = {"CgroupnsMode": namespace}
    return engine.start(host, Labels={"app": "web"}, Env=["MODE=a=b"], **options)


@pytest.mark.parametrize("namespace", ["host", "private"])
async def test_podman_is_asked_for_its_containers(
    engine: Engine, namespace: str, tmp_path: Path
) -> None:
    container, pid = start(engine, namespace)
    by_podman = {"podman_socket_path": f"unix://{engine.socket}"}
    told = await attest(pid, tmp_path, **by_podman)
    assert expected(engine) <= told
    # Podman adds variables of its own.
    assert all(each.startswith("docker:env:") for each in told - expected(engine))
    joined = engine.execute(container)
    assert await attest(joined, tmp_path, **by_podman) == told

    place(pid, f"{engine.parent}/machine.slice/libpod-{container}.scope/container")
    assert await attest(pid, tmp_path, **by_podman) == told

    engine.end(container)
    assert await attest(pid, tmp_path, **by_podman) == set()


async def test_a_users_containers_are_asked_of_the_users_podman(
    engine: Engine, tmp_path: Path
) -> None:
    _, pid = start(engine, "host", below=OF_A_USER)
    (tmp_path / "4711").mkdir()
    (tmp_path / "4711" / "podman.sock").symlink_to(engine.socket)
    assert expected(engine) <= await attest(pid, tmp_path)

    (tmp_path / "4711").rename(tmp_path / "4712")
    with pytest.raises(Unavailable, match="cannot connect to the container engine"):
        await attest(pid, tmp_path, podman_socket_path=f"unix://{engine.socket}")
