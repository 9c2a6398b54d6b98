"""What is missing around a daemon stands in its log and in its readiness, in a sentence each.

The agents here never attest: what their plugins lack is found out before.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fakes.container_engine import FakeEngine
from tests.fakes.kubelet import FakeKubelet
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.kubernetes.certificates import ClusterCA
from tests.integration.daemons import (
    Process,
    Stack,
    free_port,
    health,
    health_listener,
    new_stack,
)

MISSING = "Plugin lacks something around it"
FOUND = "Plugin lacks this no longer"
ENGINE_ANSWER = (200, b'{"ApiVersion":"1.41"}')


def told(port: int, plugin: str) -> list[str]:
    """What readiness says that a plugin lacks; nothing else may change by it."""
    status, body = health(port, "ready")
    assert status == 500
    assert body["agent"]["make_new_x509_err"] == "workload api is unavailable"
    assert health(port, "live") == (200, {"agent": {}})
    sentences: list[str] = body["plugins"][plugin]
    return sentences


class Node:
    """A node whose agent has no server, and a kubelet that may be wrong.

    Args:
        stack: its agent's.
        resources: what ends with the test.
    """

    def __init__(self, stack: Stack, resources: ExitStack) -> None:
        self.stack = stack
        self.resources = resources
        self.folder = stack.folder
        self.ca = ClusterCA()
        self.health_port = free_port()
        stack.port = free_port()
        stack.agent_more = health_listener(self.health_port)
        (self.folder / "token").write_text("projected\n")
        (self.folder / "ca.crt").write_text(self.ca.pem)

    def add_kubelet(self, *, ca: ClusterCA | None = None) -> FakeKubelet:
        kubelet = FakeKubelet(ca or self.ca, names=["localhost"])
        kubelet.token = "projected"
        return self.resources.enter_context(kubelet)

    def attest_pods(self, port: int, keys: str = "") -> None:
        self.add_attestor(
            "k8s",
            f"""
              kubelet_secure_port = {port}
              kubelet_ca_path = "{self.folder}/ca.crt"
              token_path = "{self.folder}/token"
              {keys}
            """,
        )

    def add_attestor(self, name: str, data: str) -> None:
        self.stack.agent_attestor += f'WorkloadAttestor "{name}" {{ plugin_data {{ {data} }} }}'

    def start(self) -> Process:
        agent = self.stack.launch_agent(token="unused", bundle="none")
        agent.wait_for("Serving health checks")
        return agent

    def assert_told(self, plugin: str, sentence: str) -> None:
        """The sentence, or its beginning, once in the log, and in readiness."""
        agent = self.start()
        agent.wait_for(MISSING)
        (line,) = [line for line in agent.lines if MISSING in line]
        name = plugin.rpartition(" ")[2]
        assert f"plugin_name={name}" in line
        (shown,) = told(self.health_port, plugin)
        assert shown.startswith(sentence), shown
        assert shown.replace('"', '\\"') in line


@pytest.fixture
def node() -> Iterator[Node]:
    with ExitStack() as resources:
        yield Node(resources.enter_context(new_stack()), resources)


def test_a_kubelet_that_is_not_there(node: Node) -> None:
    port = free_port()
    node.attest_pods(port)
    node.assert_told(
        "WorkloadAttestor k8s",
        f"unable to perform request: https://127.0.0.1:{port}: Connection refused (without a node "
        "name in MY_NODE_NAME the agent's pod needs hostNetwork: true)",
    )


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            401,
            "401 no (the kubelet takes tokens only with --authentication-token-webhook",
        ),
        (
            403,
            "403 no (the agent's ClusterRole needs the verb get on nodes/proxy",
        ),
    ],
)
def test_a_kubelet_that_refuses(node: Node, status: int, sentence: str) -> None:
    kubelet = node.add_kubelet()
    kubelet.refusal = (status, "no")
    node.attest_pods(kubelet.port)
    node.assert_told("WorkloadAttestor k8s", f"unexpected status code on pods response: {sentence}")


def test_a_kubelet_of_another_authority(node: Node) -> None:
    kubelet = node.add_kubelet(ca=ClusterCA())
    node.attest_pods(kubelet.port)
    node.assert_told(
        "WorkloadAttestor k8s",
        f"unable to perform request: https://127.0.0.1:{kubelet.port}: its certificate is not "
        "trusted: ",
    )
    assert "set kubelet_ca_path" in told(node.health_port, "WorkloadAttestor k8s")[0]


def test_a_node_whose_name_the_kubelets_certificate_lacks(node: Node) -> None:
    kubelet = node.add_kubelet()
    node.attest_pods(kubelet.port, 'node_name = "127.0.0.1"')
    node.assert_told("WorkloadAttestor k8s", "unable to perform request: https://127.0.0.1:")
    shown = told(node.health_port, "WorkloadAttestor k8s")[0]
    assert "node_name must be a name that the kubelet's certificate has" in shown


def test_a_node_whose_name_cannot_be_resolved(node: Node) -> None:
    node.attest_pods(1, 'node_name = "node-1.invalid"')
    node.assert_told("WorkloadAttestor k8s", "unable to perform request: https://node-1.invalid:1")
    assert "dnsPolicy" in told(node.health_port, "WorkloadAttestor k8s")[0]


def test_a_variable_that_is_to_tell_the_nodes_name(node: Node) -> None:
    node.attest_pods(node.add_kubelet().port, 'node_name_env = "NODE"')
    node.assert_told(
        "WorkloadAttestor k8s",
        "environment variable NODE (node_name_env) is not set: the agent's pod needs it from "
        "fieldPath spec.nodeName",
    )


def test_a_service_account_that_is_not_mounted(node: Node) -> None:
    (node.folder / "token").unlink()
    node.attest_pods(node.add_kubelet().port)
    node.assert_told(
        "WorkloadAttestor k8s",
        f"unable to load token: unable to read token file {node.folder}/token: No such file or "
        "directory (the agent's pod needs its service account mounted",
    )


def test_namespaces_that_may_not_be_read(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOST", "127.0.0.1"), ("PORT", "1")):
        monkeypatch.setenv(f"KUBERNETES_SERVICE_{name}", value)
    monkeypatch.setenv("HOST_PROC", str(made_up_proc(node.folder, alone=False)))
    node.attest_pods(node.add_kubelet().port, "enable_namespace_labels = true")
    node.assert_told("WorkloadAttestor k8s", "the Kubernetes API server cannot be used: ")


def made_up_proc(folder: Path, *, alone: bool) -> Path:
    """Files of process 1 and of the agent, in one container or not."""
    proc = folder / "proc"
    for name in ("1", "self"):
        (proc / name).mkdir(parents=True)
        (proc / name / "status").write_text("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
        shared = alone or name == "self"
        (proc / name / "cgroup").write_text("0::/\n" if shared else "0::/../../../init.scope\n")
    return proc


def test_a_pod_that_is_alone_with_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("HOST_PROC", str(made_up_proc(node.folder, alone=True)))
    node.assert_told(
        "WorkloadAttestor unix",
        "the agent sees the processes of its own container only: its pod needs hostPID: true",
    )


def test_a_pod_that_sees_the_nodes_processes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("HOST_PROC", str(made_up_proc(node.folder, alone=False)))
    agent = node.start()
    agent.wait_for("Failed to retrieve attestation result", count=2)
    assert MISSING not in agent.output
    assert list(health(node.health_port, "ready")[1]) == ["agent"]


def test_a_proc_that_is_not_the_hosts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_PROC", str(node.folder))
    node.assert_told(
        "WorkloadAttestor unix",
        f"{node.folder}/1/status does not exist: {node.folder} (HOST_PROC) must be the host's "
        "/proc, mounted",
    )


def test_cgroups_that_cannot_be_read(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = made_up_proc(node.folder, alone=False)
    (proc / "1" / "cgroup").unlink()
    (proc / "1" / "cgroup").mkdir()  # as root may read all files, but no folder
    monkeypatch.setenv("HOST_PROC", str(proc))
    node.attest_pods(node.add_kubelet().port)
    node.assert_told(
        "WorkloadAttestor k8s",
        f"unable to read {proc}/1/cgroup: Is a directory; the agent must run as root, or /proc be "
        "mounted without hidepid",
    )


def test_an_engine_whose_socket_is_not_mounted_and_then_is(node: Node) -> None:
    path = node.folder / "docker.sock"
    node.add_attestor(
        "docker",
        f"""
          docker_socket_path = "unix://{path}"
          podman_socket_path = "unix://{node.folder}/podman.sock"
          podman_socket_path_template = "unix://{node.folder}/%d/podman.sock"
        """,
    )
    node.assert_told(
        "WorkloadAttestor docker",
        f"cannot connect to the container engine at {path}: No such file or directory (its socket "
        "must be mounted into the agent's container)",
    )
    with FakeEngine(path) as engine:
        engine.refusals = [ENGINE_ANSWER] * 10
        agent = node.stack.processes[-1]
        agent.wait_for(FOUND)
        assert agent.output.count(MISSING) == 1
        assert "plugins" not in health(node.health_port, "ready")[1]


def test_an_engine_that_does_not_run(node: Node) -> None:
    path = node.folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    node.add_attestor("docker", f'docker_socket_path = "unix://{path}"')
    node.assert_told(
        "WorkloadAttestor docker",
        f"cannot connect to the container engine at {path}: Connection refused (the engine does "
        "not run, or its socket was mounted before it was made anew)",
    )


def test_a_system_bus_that_is_not_mounted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={node.folder}/bus")
    node.add_attestor("systemd", "")
    node.assert_told("WorkloadAttestor systemd", "failed to open dbus connection: ")
    (shown,) = told(node.health_port, "WorkloadAttestor systemd")
    assert "the host's system bus, in a pod mounted" in shown


def test_the_volume_of_the_node_attestors_token(node: Node) -> None:
    path = node.folder / "tokens" / "spire-agent"
    node.stack.agent_attestor = f"""
        NodeAttestor "k8s_psat" {{ plugin_data {{ cluster = "demo" token_path = "{path}" }} }}
    """
    agent = node.stack.launch_agent(bundle="none")
    agent.wait_for(MISSING)
    agent.wait_for("Serving health checks")
    (shown,) = told(node.health_port, "NodeAttestor k8s_psat")
    assert shown.startswith(f"unable to load token from {path}: no such file or directory; the ")
    assert f"a projected volume mounted at {path.parent}" in shown

    with FakeKubernetes() as cluster:
        cluster.add_node("node-1")
        pod = cluster.add_pod("spire", "spire-agent-x", node="node-1")
        path.parent.mkdir()
        path.write_text(cluster.issue_token(pod))
    agent.wait_for(FOUND)
    assert "plugins" not in health(node.health_port, "ready")[1]


@pytest.mark.parametrize("denied", [("create", "tokenreviews"), ("get", "pods"), ("get", "nodes")])
def test_a_right_of_the_server(tmp_path: Path, denied: tuple[str, str]) -> None:
    verb, plural = denied
    with server_in_a_cluster(tmp_path) as (cluster, stack, port):
        cluster.rules.denied.add(denied)
        server = stack.start_server()
        server.wait_for(MISSING)
        server.wait_for("Serving health checks")
        status, body = health(port, "ready")
        (shown,) = body["plugins"]["NodeAttestor k8s_psat"]
        assert shown.startswith('cluster "demo-cluster": the service account or user lacks the ')
        assert f'resources: ["{plural}"], verbs: ["{verb}"]' in shown
        assert status == 200
        assert [name for name in body if name != "plugins"] == [
            "catalog.datastore",
            "server",
            "server.ca",
        ]
        cluster.rules.denied.clear()
        server.wait_for(FOUND)
        assert "plugins" not in health(port, "ready")[1]


def test_rights_of_what_publishes_the_bundle(tmp_path: Path) -> None:
    port = free_port()
    with FakeKubernetes() as cluster:
        cluster.add_namespace("spire")
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        plugins = f"""
            Notifier "k8sbundle" {{ plugin_data {{
                kube_config_file_path = "{kubeconfig}"
                webhook_label = "example.org/inject"
                api_service_label = "example.org/inject"
            }} }}
            BundlePublisher "k8s_configmap" {{ plugin_data {{ clusters = {{ "demo" = {{
                configmap_name = "spire-bundle"
                configmap_key = "bundle.spiffe"
                namespace = "spire"
                kubeconfig_path = "{kubeconfig}"
                format = "spiffe"
            }} }} }} }}
        """
        denied = {
            ("patch", "configmaps"),
            ("watch", "mutatingwebhookconfigurations"),
            ("list", "validatingwebhookconfigurations"),
            ("patch", "apiservices"),
        }
        cluster.rules.denied |= denied
        with new_stack(server_plugins=plugins, server_more=health_listener(port)) as stack:
            server = stack.start_server()
            server.wait_for(MISSING, count=len(denied) + 1)
            server.wait_for("Serving health checks")
            status, body = health(port, "ready")
            assert status == 200
            by_notifier = " ".join(body["plugins"]["Notifier k8sbundle"])
            for verb, plural in denied:
                assert f'resources: ["{plural}"]' in by_notifier
                assert f'verbs: ["{verb}"]' in by_notifier
            by_publisher = " ".join(body["plugins"]["BundlePublisher k8s_configmap"])
            assert 'resources: ["configmaps"]' in by_publisher
            cluster.rules.denied.clear()
            server.wait_for(FOUND, count=len(denied) + 1)
            assert "plugins" not in health(port, "ready")[1]


@contextmanager
def server_in_a_cluster(folder: Path) -> Iterator[tuple[FakeKubernetes, Stack, int]]:
    port = free_port()
    with FakeKubernetes() as cluster:
        kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        attestor = f"""
            NodeAttestor "k8s_psat" {{ plugin_data {{ clusters = {{ "demo-cluster" = {{
                service_account_allow_list = ["spire:spire-agent"]
                kube_config_file = "{kubeconfig}"
            }} }} }} }}
        """
        with new_stack(server_plugins=attestor, server_more=health_listener(port)) as stack:
            yield cluster, stack, port
