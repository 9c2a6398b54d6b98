"""A whole cluster: the node attests by its pod's token with the bundle of a ConfigMap, a pod on it
gets its identity, and the ConfigMap stays right. The server has no rights but the printed ones.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spire_py.crypto.pem import pem_to_certificates
from spire_py.spiffe.bundle_format import bundle_from_json, bundle_from_pem
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import verify_chain
from tests.fakes.kubelet import FakeKubelet, pod
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.kubernetes.kinds import CONFIG_MAPS
from tests.fakes.kubernetes.rbac import printed_rights
from tests.fakes.kubernetes.store import Key
from tests.integration.daemons import OURS, TRUST_DOMAIN, Process, Stack, new_stack, run
from tests.integration.kubernetes.cgroups import Cgroups

CONTAINER_ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
NODE_UID = "5dbb7b21-65fe-11e9-b1b0-0800277ac80f"
DOMAIN = TrustDomain(TRUST_DOMAIN)
BUNDLE = ("spire", "spire-bundle")

K8SBUNDLE = """
Notifier "k8sbundle" {{ plugin_data {{ kube_config_file_path = "{kubeconfig}" }} }}
"""
K8S_CONFIGMAP = """
BundlePublisher "k8s_configmap" {{ plugin_data {{ clusters = {{ "demo-cluster" = {{
  namespace = "spire" configmap_name = "spire-bundle" configmap_key = "bundle.spiffe"
  format = "spiffe" kubeconfig_path = "{kubeconfig}"
}} }} }} }}
"""


@dataclass
class Site:
    """A cluster with one node, whose agent's pod and workload's pod these are."""

    cluster: FakeKubernetes
    kubelet: FakeKubelet
    cgroups: Cgroups
    stack: Stack
    agent_pod: dict[str, Any]
    pod_uid: str

    def configure(self, publishing: str) -> None:
        """Both daemons, as pods of the cluster would be."""
        folder = self.stack.folder
        kubeconfig = self.cluster.write_kubeconfig(folder / "kubeconfig")
        self.stack.server_plugins = (
            publishing.format(kubeconfig=kubeconfig)
            + f"""
            NodeAttestor "k8s_psat" {{ plugin_data {{ clusters = {{ "demo-cluster" = {{
              service_account_allow_list = ["spire:spire-agent"]
              kube_config_file = "{kubeconfig}"
            }} }} }} }}
        """
        )
        self.kubelet.token = self.cluster.client_token("spire-agent")
        (folder / "agent-token").write_text(self.kubelet.token)
        (folder / "ca.crt").write_text(self.cluster.ca.pem)
        (folder / "psat").write_text(self.cluster.issue_token(self.agent_pod))
        self.stack.agent_attestor = f"""
            NodeAttestor "k8s_psat" {{ plugin_data {{
              cluster = "demo-cluster"
              token_path = "{folder}/psat"
            }} }}
            WorkloadAttestor "k8s" {{ plugin_data {{
              kubelet_secure_port = {self.kubelet.port}
              kubelet_ca_path = "{folder}/ca.crt"
              token_path = "{folder}/agent-token"
              node_name = "localhost"
              max_poll_attempts = 2
              poll_retry_interval = "100ms"
            }} }}
        """

    def create_entries(self) -> None:
        """For the node, for the pod, for the pod but for its label, and for every process."""
        self.stack.server(
            *("entry", "create", "-node", "-spiffeID", f"spiffe://{TRUST_DOMAIN}/node"),
            *("-selector", "k8s_psat:cluster:demo-cluster"),
            *("-selector", f"k8s_psat:agent_node_uid:{NODE_UID}"),
            *("-selector", f"k8s_psat:agent_pod_uid:{self.agent_pod['metadata']['uid']}"),
        )
        of_pod = (
            *("ns:shop", "sa:seller", "pod-name:web", f"pod-uid:{self.pod_uid}"),
            *("node-name:node-1", "pod-owner:ReplicaSet:web-1", "container-name:app-0"),
            *("container-image:registry.example.org/app:v0", "pod-image-count:1"),
        )
        for name, label in (("web", "pod-label:app:web"), ("other", "pod-label:app:other")):
            words = [f"k8s:{each}" for each in (*of_pod, label)]
            self.stack.create_entry(name, *(word for each in words for word in ("-selector", each)))
        self.stack.create_entry("everybody")

    def in_container(self, *words: str) -> list[str]:
        """The command that runs one of ours in the workload's container."""
        cgroup = f"/kubepods/besteffort/pod{self.pod_uid}/{CONTAINER_ID}"
        return self._in_cgroup(cgroup, *words)

    def wait_for_entries(self) -> None:
        """Until a process of the node that is in no pod gets what everybody gets."""
        watch = Process(self._in_cgroup("/user.slice/session-1.scope", "api", "watch"))
        try:
            watch.wait_for("Received 1 svid after")
        finally:
            watch.kill()

    def _in_cgroup(self, cgroup: str, *words: str) -> list[str]:
        command = shlex.join([*OURS, *words, "-socketPath", str(self.stack.agent_socket)])
        return ["sh", "-c", f"{self.cgroups.enter(cgroup)} && exec {command}"]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with ExitStack() as resources:
        cluster = resources.enter_context(FakeKubernetes())
        kubelet = resources.enter_context(FakeKubelet(cluster.ca, names=["localhost"]))
        stack = resources.enter_context(new_stack())
        cgroups = Cgroups(stack.folder)
        resources.callback(cgroups.remove)
        # Processes must be gone before their cgroups are.
        resources.callback(stack.close)
        for name, value in cgroups.environment.items():
            monkeypatch.setenv(name, value)
        cluster.add_node("node-1", uid=NODE_UID)
        agent_pod = cluster.add_pod("spire", "spire-agent-x", node="node-1")
        pod_uid = str(uuid.uuid4())
        owner = {"kind": "ReplicaSet", "name": "web-1", "uid": str(uuid.uuid4())}
        kubelet.pods = [
            pod(pod_uid, CONTAINER_ID, labels={"app": "web"}, ownerReferences=[owner]),
            pod(str(uuid.uuid4()), os.urandom(32).hex(), name="neighbour"),
        ]
        yield Site(cluster, kubelet, cgroups, stack, agent_pod, pod_uid)


@pytest.mark.parametrize(
    ("publishing", "pages", "keys"),
    [
        pytest.param(K8SBUNDLE, ["notifier_k8sbundle"], {"bundle.crt"}, id="k8sbundle"),
        pytest.param(
            K8SBUNDLE + K8S_CONFIGMAP,
            ["notifier_k8sbundle", "bundle_publisher_k8s_configmap"],
            {"bundle.crt", "bundle.spiffe"},
            id="k8sbundle and k8s_configmap",
        ),
    ],
)
def test_a_pod_gets_its_identity(
    site: Site, publishing: str, pages: list[str], keys: set[str]
) -> None:
    for page in ("node_attestor_k8s_psat", *pages):
        site.cluster.rules.grant(printed_rights(page))
    site.configure(publishing)
    server = site.stack.start_server()

    data = site.cluster.wait_for_config_map(*BUNDLE, lambda data: data.keys() == keys)
    bundle = bundle_from_pem(DOMAIN, data["bundle.crt"])
    if "bundle.spiffe" in keys:
        published = bundle_from_json(DOMAIN, data["bundle.spiffe"])
        assert published.x509_authorities == bundle.x509_authorities
        assert published.jwt_authorities

    site.create_entries()
    agent = site.stack.launch_agent(bundle=data["bundle.crt"])
    agent.wait_for("Starting agent APIs")
    agent_id = f"spiffe://{TRUST_DOMAIN}/spire/agent/k8s_psat/demo-cluster/{NODE_UID}"
    assert agent_id in site.stack.server("agent", "list")
    site.wait_for_entries()

    # The whole of what a pod waits for at its first call, of which it gives up after a second.
    folder = site.stack.folder / "svids"
    folder.mkdir()
    words = ("api", "fetch", "x509", "-timeout", "1s", "-write", str(folder))
    fetched = run(*site.in_container(*words))
    assert identities(fetched) == ["everybody", "web"]
    assert verified(folder, bundle) == {"everybody", "web"}

    site.cluster.store.delete(Key(CONFIG_MAPS, *BUNDLE))
    site.cluster.wait_for_config_map(*BUNDLE, lambda now: now == data)

    site.kubelet.pods.pop(0)
    assert identities(run(*site.in_container("api", "fetch", "x509"))) == ["everybody"]
    assert agent.stop() == 0, agent.output
    assert server.stop() == 0, server.output
    assert "Plugin lacks something around it" not in server.output


def identities(fetched: subprocess.CompletedProcess[str]) -> list[str]:
    assert fetched.returncode == 0, fetched.stderr
    prefix = f"spiffe://{TRUST_DOMAIN}/"
    return sorted(
        line.partition(prefix)[2] for line in fetched.stdout.splitlines() if prefix in line
    )


def verified(folder: Path, bundle: Any) -> set[str]:
    """The names in the SVIDs that were written, which the bundle must vouch for."""
    chains = [pem_to_certificates(path.read_bytes()) for path in folder.glob("svid.*.pem")]
    now = datetime.now(UTC)
    return {verify_chain(chain, {DOMAIN: bundle}, now).path.lstrip("/") for chain in chains}
