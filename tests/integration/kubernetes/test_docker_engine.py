"""Containers of a real Docker engine are told by their real cgroups."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from spire_py_plugins.workload_attestor import docker, k8s

from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.spiffe.id import TrustDomain
from tests.fakes.kubelet import FakeKubelet, pod
from tests.integration.daemons import Process, stack_folder

pytestmark = [pytest.mark.peer("dockerd"), pytest.mark.xdist_group("dockerd")]


@dataclass
class Docker:
    """An engine of our own, which has one image."""

    socket: Path
    api: httpx2.Client

    def start(self, host: dict[str, Any] | None = None, **config: Any) -> tuple[str, int]:
        """A container that sleeps: its ID and the pid of its process."""
        body = {
            "Image": "sleeper:v1",
            "Cmd": ["/bin/sleep", "300"],
            "HostConfig": {"NetworkMode": "none", **(host or {})},
            **config,
        }
        container: str = self._post("/containers/create", json=body).json()["Id"]
        self._post(f"/containers/{container}/start")
        state = self.api.get(f"/containers/{container}/json").json()["State"]
        return container, state["Pid"]

    def remove_all(self) -> None:
        for container in self.api.get("/containers/json?all=true").json():
            self.api.delete(f"/containers/{container['Id']}?force=true").raise_for_status()

    def load_image(self) -> None:
        self._post("/images/create?fromSrc=-&repo=sleeper&tag=v1", content=_root_file_system())

    def image_digest(self) -> str:
        digest: str = self.api.get("/images/sleeper:v1/json").json()["Id"]
        return digest

    def _post(self, path: str, **options: Any) -> httpx2.Response:
        answer = self.api.post(path, **options)
        assert answer.is_success, answer.text
        return answer


def _root_file_system() -> bytes:
    """An archive with `sleep` and what it is linked to."""
    sleep = shutil.which("sleep")
    assert sleep
    linked = subprocess.run(["ldd", sleep], capture_output=True, text=True, check=False).stdout
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as files:
        files.add(Path(sleep).resolve(), "bin/sleep")
        for path in re.findall(r"(/\S+) \(0x", linked):
            files.add(Path(path).resolve(), path.lstrip("/"))
    return archive.getvalue()


@pytest.fixture
def engine(require_peer: Callable[[str], Path]) -> Iterator[Docker]:
    program = require_peer("dockerd")
    beside = [program.parent, program.parent.parent / "bin"]
    with stack_folder() as folder:
        socket = folder / "docker.sock"
        daemon = Process(
            [
                *(str(program), "--iptables=false", "--bridge=none", "--storage-driver=vfs"),
                *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
                *("--host", f"unix://{socket}", "--pidfile", f"{folder}/pid"),
            ],
            environment={"PATH": os.pathsep.join([*map(str, beside), os.environ["PATH"]])},
        )
        transport = httpx2.HTTPTransport(uds=str(socket))
        try:
            daemon.wait_for("API listen on")
            with httpx2.Client(transport=transport, base_url="http://docker", timeout=60) as api:
                engine = Docker(socket, api)
                engine.load_image()
                yield engine
                engine.remove_all()
        finally:
            daemon.stop()


@pytest.fixture
def parent() -> Iterator[str]:
    """The name of a cgroup that is removed once the engine is gone."""
    name = f"spire-py-{uuid.uuid4()}"
    yield name
    for made in Path("/sys/fs/cgroup").glob(f"**/{name}"):
        for folder, _, _ in os.walk(made, topdown=False):
            Path(folder).rmdir()


async def attest(attestor: WorkloadAttestor, pid: int) -> list[str]:
    return [str(selector) for selector in await attestor.attest(pid)]


async def test_containers_are_told_by_a_real_engine(parent: str, engine: Docker) -> None:
    context = PluginContext(TrustDomain("example.org"))
    by_docker = docker.configure({"docker_socket_path": f"unix://{engine.socket}"}, context)
    image = ["docker:image_id:sleeper:v1", f"docker:image_config_digest:{engine.image_digest()}"]

    _, pid = engine.start({"CgroupnsMode": "host"}, Labels={"app": "web"}, Env=["MODE=a=b"])
    assert await attest(by_docker, pid) == ["docker:label:app:web", "docker:env:MODE=a=b", *image]

    _, pid = engine.start({"CgroupnsMode": "private"}, Labels={"app": "private"})
    assert await attest(by_docker, pid) == ["docker:label:app:private", *image]

    assert await attest(by_docker, os.getpid()) == []

    uid = str(uuid.uuid4())
    for mode in ("host", "private"):
        pod_cgroup = f"/{parent}/kubepods/besteffort/pod{uid}"
        container, pid = engine.start({"CgroupnsMode": mode, "CgroupParent": pod_cgroup})
        assert await attest(by_docker, pid) == image
        with FakeKubelet() as kubelet:
            kubelet.pods = [pod(uid, container)]
            by_kubelet = k8s.configure({"kubelet_read_only_port": kubelet.port}, context)
            selectors = await attest(by_kubelet, pid)
            await by_kubelet.aclose()
        assert f"k8s:pod-uid:{uid}" in selectors
        assert "k8s:container-name:app-0" in selectors
