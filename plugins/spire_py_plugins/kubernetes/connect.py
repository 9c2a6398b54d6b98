"""Clients by what plugins' settings say."""

from __future__ import annotations

from pathlib import Path

from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.in_cluster import InCluster, Pod
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig


def connect(kubeconfig: Path | None, pod: Pod) -> KubernetesClient:
    """A client as the file says, or of the cluster that `pod` is in."""
    return KubernetesClient(InCluster(pod) if kubeconfig is None else Kubeconfig(kubeconfig))
