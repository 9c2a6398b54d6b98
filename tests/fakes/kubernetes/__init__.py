"""A Kubernetes API server of the tests' own: real TLS, real HTTP/1.1, and what clients rely on.

    with FakeKubernetes() as cluster:
        cluster.add_node("node-1")
        pod = cluster.add_pod("spire", "spire-agent-x", node="node-1")
        token = cluster.issue_token(pod, audiences=["spire-server"])
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        cluster.faults.add(Fault.HANG, "tokenreviews")

It runs in threads of its own, so that tests may block, and other processes may call it.
"""

from tests.fakes.kubernetes.cluster import FakeKubernetes
from tests.fakes.kubernetes.faults import Fault

__all__ = ["FakeKubernetes", "Fault"]
