"""A workload in a pod's cgroup gets its SVID from our agent, which asks a kubelet for the pod."""

from __future__ import annotations

import shlex
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.fakes.kubelet import FakeKubelet, pod
from tests.fakes.kubernetes.certificates import ClusterCA
from tests.integration.daemons import OURS, Process, Stack, new_stack, run
from tests.integration.kubernetes.cgroups import Cgroups

CONTAINER_ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
OTHER_ID = "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2"


@dataclass
class Node:
    """A node with a kubelet and an agent; `pod_uid` is the one pod's on it."""

    stack: Stack
    kubelet: FakeKubelet
    cgroups: Cgroups
    pod_uid: str

    def fetch(self, cgroup: str) -> subprocess.CompletedProcess[str]:
        """What a process gets that runs in `cgroup`."""
        return run(*self._command(cgroup, "api", "fetch", "x509"))

    def wait_for_entry(self) -> None:
        """Until a process that is in no pod gets an SVID."""
        watch = Process(self._command("/user.slice/session-1.scope", "api", "watch"))
        try:
            watch.wait_for("Received 1 svid after")
        finally:
            watch.kill()

    def _command(self, cgroup: str, *words: str) -> list[str]:
        command = shlex.join([*OURS, *words, "-socketPath", str(self.stack.agent_socket)])
        return ["sh", "-c", f"{self.cgroups.enter(cgroup)} && exec {command}"]

    @property
    def container(self) -> str:
        return f"/kubepods/besteffort/pod{self.pod_uid}/{CONTAINER_ID}"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    ca = ClusterCA()
    with ExitStack() as resources:
        kubelet = resources.enter_context(FakeKubelet(ca, names=["localhost"]))
        stack = resources.enter_context(new_stack())
        cgroups = Cgroups(stack.folder)
        resources.callback(cgroups.remove)
        for name, value in {**cgroups.environment, "MY_NODE_NAME": "localhost"}.items():
            monkeypatch.setenv(name, value)
        kubelet.token = "projected"
        (stack.folder / "token").write_text("projected\n")
        (stack.folder / "ca.crt").write_text(ca.pem)
        stack.agent_attestor += f"""
            WorkloadAttestor "k8s" {{ plugin_data {{
              kubelet_secure_port = {kubelet.port}
              kubelet_ca_path = "{stack.folder}/ca.crt"
              token_path = "{stack.folder}/token"
              max_poll_attempts = 2
              poll_retry_interval = "100ms"
            }} }}
        """
        uid = str(uuid.uuid4())
        kubelet.pods = [pod(uid, CONTAINER_ID, labels={"app": "web"})]
        stack.start_server()
        stack.start_agent()
        yield Node(stack, kubelet, cgroups, uid)
        # Processes must be gone before their cgroups are.
        stack.close()


def create_entries(node: Node) -> None:
    selectors = ("ns:shop", "sa:seller", "container-name:app-0", "pod-label:app:web")
    words = [word for each in selectors for word in ("-selector", f"k8s:{each}")]
    node.stack.create_entry("web", *words)
    node.stack.create_entry("other", "-selector", "k8s:pod-name:other")
    node.stack.create_entry("user")
    node.wait_for_entry()


def test_identities_follow_the_pod(node: Node) -> None:
    create_entries(node)
    node.kubelet.asked.clear()

    fetched = node.fetch(node.container)
    assert "spiffe://example.org/web" in fetched.stdout, fetched.stderr
    assert "spiffe://example.org/user" in fetched.stdout
    assert "spiffe://example.org/other" not in fetched.stdout
    assert set(node.kubelet.asked) == {"Bearer projected"}

    outside = node.fetch("/system.slice/cron.service")
    assert "spiffe://example.org/user" in outside.stdout
    assert "spiffe://example.org/web" not in outside.stdout

    # A pod's own process that may make cgroups, and names one like another pod's container.
    other_uid = str(uuid.uuid4())
    node.kubelet.pods.append(pod(other_uid, OTHER_ID, name="other"))
    forged = node.fetch(f"{node.container}/pod{other_uid}/{OTHER_ID}")
    assert "spiffe://example.org/user" in forged.stdout
    assert "spiffe://example.org/other" not in forged.stdout
    node.stack.processes[1].wait_for("multiple pod UIDs found")
    other = node.fetch(f"/kubepods/pod{other_uid}/{OTHER_ID}")
    assert "spiffe://example.org/other" in other.stdout


def test_other_attestors_go_on_while_the_kubelet_refuses(node: Node) -> None:
    create_entries(node)
    node.kubelet.refusal = (403, "Forbidden (user=agent, verb=get, resource=nodes)")
    fetched = node.fetch(node.container)
    assert "spiffe://example.org/user" in fetched.stdout, fetched.stderr
    assert "spiffe://example.org/web" not in fetched.stdout
    node.stack.processes[1].wait_for("ClusterRole needs the verb get on nodes/proxy")
    node.kubelet.refusal = None
    assert "spiffe://example.org/web" in node.fetch(node.container).stdout
