"""WorkloadAttestor `k8s` (features J1 to J9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spire_py.plugin_api.context import PluginContext
from spire_py.runtime.clock import Clock, SystemClock
from spire_py_plugins.kubernetes.extra import require_extra
from spire_py_plugins.workload_attestor.container_locator import ContainerLocator
from spire_py_plugins.workload_attestor.k8s.attestor import K8sWorkloadAttestor, NamespaceLabels
from spire_py_plugins.workload_attestor.k8s.kubelet import Kubelet
from spire_py_plugins.workload_attestor.k8s.pod_lists import PodLists
from spire_py_plugins.workload_attestor.k8s.settings import K8sSettings, parse_settings


def configure(data: Mapping[str, Any], context: PluginContext) -> K8sWorkloadAttestor:
    """The plugin. `HOST_PROC` in the environment moves `/proc`, as it does for `unix`."""
    require_extra()
    settings = parse_settings(data, context)
    return build(settings, clock=SystemClock(), proc=Path(os.environ.get("HOST_PROC") or "/proc"))


def build(
    settings: K8sSettings,
    *,
    clock: Clock,
    proc: Path,
    namespace_labels: NamespaceLabels | None = None,
) -> K8sWorkloadAttestor:
    """The attestor for settings. `namespace_labels` stand in for the API server."""
    kubelet = Kubelet(settings.kubelet, clock=clock) if settings.kubelet else None
    pod_lists = (
        PodLists(source=kubelet, interval=settings.poll_retry_interval, clock=clock)
        if kubelet
        else None
    )
    if settings.enable_namespace_labels and namespace_labels is None:
        namespace_labels = _in_cluster()
    return K8sWorkloadAttestor(
        locator=ContainerLocator(
            proc=proc,
            fall_back=settings.use_new_container_locator,
            verbose=settings.verbose_container_locator_logs,
        ),
        pod_lists=pod_lists,
        kubelet=kubelet,
        max_poll_attempts=settings.max_poll_attempts,
        container_selectors=not settings.disable_container_selectors,
        namespace_labels=namespace_labels,
        unset_variable=settings.kubelet.unset_variable if settings.kubelet else "",
    )


def _in_cluster() -> NamespaceLabels:
    from spire_py_plugins.kubernetes.client import KubernetesClient
    from spire_py_plugins.kubernetes.in_cluster import InCluster, Pod
    from spire_py_plugins.workload_attestor.k8s.namespaces import ApiServerNamespaces

    return ApiServerNamespaces(KubernetesClient(InCluster(Pod())))
