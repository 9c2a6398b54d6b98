"""What plugins say that they lack; the rest is shown with daemons, in `integration/kubernetes`."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig
from spire_py_plugins.node_attestor.k8s_psat import agent as k8s_psat
from spire_py_plugins.workload_attestor import docker, unix
from spire_py_plugins.workload_attestor.host_processes import missing_around_processes
from spire_py_plugins.workload_attestor.k8s.namespaces import ApiServerNamespaces

from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain
from tests.fakes.container_engine import FakeEngine
from tests.fakes.kubernetes import FakeKubernetes

CONTEXT = PluginContext(TrustDomain("example.org"))
NOBODY = 65534
ROOT = 0
VERSION = (200, b'{"ApiVersion":"1.41"}')


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """For a while, be a user who may do nothing special."""
    user = os.geteuid()
    if user == ROOT:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


class TestToken:
    """The token of an agent's pod."""

    async def missing(self, path: Path) -> list[str]:
        plugin = k8s_psat.configure({"cluster": "demo", "token_path": str(path)}, CONTEXT)
        return [*await plugin.check_surroundings()]

    @pytest.fixture
    def cluster(self) -> Iterator[FakeKubernetes]:
        with FakeKubernetes() as cluster:
            cluster.add_node("node-1")
            yield cluster

    async def test_a_good_one_lacks_nothing(self, cluster: FakeKubernetes, tmp_path: Path) -> None:
        pod = cluster.add_pod("spire", "agent", node="node-1")
        path = tmp_path / "token"
        path.write_text(cluster.issue_token(pod))
        assert await self.missing(path) == []

    async def test_an_expired_one_is_told(self, cluster: FakeKubernetes, tmp_path: Path) -> None:
        pod = cluster.add_pod("spire", "agent", node="node-1")
        path = tmp_path / "token"
        path.write_text(cluster.issue_token(pod, seconds=-5))
        assert await self.missing(path) == [
            f"the token in {path} has expired, and the kubelet has not replaced it"
        ]

    async def test_one_of_no_pod_is_told(self, cluster: FakeKubernetes, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text(cluster.client_token())
        (told,) = await self.missing(path)
        assert told.startswith(f"the token in {path} is bound to no pod: the pod needs a projected")

    @pytest.mark.parametrize("text", ["nonsense", "a.b.c", "a.W10.c", "a.e30.c"])
    async def test_what_is_no_token_is_told(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "token"
        path.write_text(text)
        (told,) = await self.missing(path)
        assert str(path) in told


class TestEngine:
    """The sockets of container engines."""

    async def missing(self, folder: Path, **data: Any) -> list[str]:
        paths = {
            "docker_socket_path": f"unix://{folder}/docker.sock",
            "podman_socket_path": f"unix://{folder}/podman.sock",
            "podman_socket_path_template": f"unix://{folder}/users/%d/podman.sock",
        }
        return [*await docker.configure({**paths, **data}, CONTEXT).check_surroundings()]

    @pytest.mark.parametrize("name", ["docker.sock", "podman.sock"])
    async def test_one_that_answers_is_enough(self, folder: Path, name: str) -> None:
        with FakeEngine(folder / name) as engine:
            engine.refusals = [VERSION]
            assert await self.missing(folder) == []
            assert engine.asked == ["/version"]

    async def test_users_who_run_podman_are_enough(self, folder: Path) -> None:
        (folder / "users" / "1000").mkdir(parents=True)
        (folder / "users" / "1000" / "podman.sock").touch()
        assert await self.missing(folder) == []

    async def test_a_version_that_the_engine_does_not_have_is_told(self, folder: Path) -> None:
        with FakeEngine(folder / "docker.sock") as engine:
            engine.refusals = [(400, b'{"message":"client version 1.99 is too new"}')]
            told = await self.missing(folder, docker_version="1.99")
            assert told == ["Error response from daemon: client version 1.99 is too new"]
            assert engine.asked == ["/v1.99/version"]

    async def test_a_socket_that_may_not_be_used_is_told(self, folder: Path) -> None:
        path = folder / "docker.sock"
        folder.chmod(0o755)
        await self.missing(folder)  # loads what that user may not read
        with socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(path))
            engine.listen()
            path.chmod(0o600 if os.geteuid() == ROOT else 0)
            with without_rights():
                told = await self.missing(folder)
        assert "; ".join(told) == (
            f"cannot connect to the container engine at {path}: Permission denied (the agent must "
            "run as root or with the group of the socket)"
        )


class TestProcesses:
    """The processes of the node."""

    async def test_paths_of_others_need_rights(self) -> None:
        plugin = unix.configure({"discover_workload_path": True}, CONTEXT)
        with without_rights():
            (told,) = await plugin.check_surroundings()
        assert told.startswith("discover_workload_path needs the right to look into processes of ")
        assert "SYS_PTRACE" in told

    async def test_owners_need_none(self) -> None:
        with without_rights():
            assert await unix.configure({}, CONTEXT).check_surroundings() == []

    def test_outside_of_kubernetes_one_container_is_no_fault(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("1", "self"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "cgroup").write_text("0::/\n")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        assert missing_around_processes(tmp_path, "cgroup") == []
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        (told,) = missing_around_processes(tmp_path, "cgroup")
        assert told.endswith("hostPID: true")


async def test_the_right_to_read_namespaces_is_told(tmp_path: Path) -> None:
    with FakeKubernetes() as cluster:
        access = Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig"))
        namespaces = ApiServerNamespaces(KubernetesClient(access))
        assert await namespaces.missing_rules() == []
        cluster.rules.denied.add(("get", "namespaces"))
        (told,) = await namespaces.missing_rules()
        assert told == (
            'the service account or user lacks the RBAC rule apiGroups: [""], resources: '
            '["namespaces"], verbs: ["get"]'
        )
        await namespaces.aclose()
