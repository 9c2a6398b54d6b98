"""The server's settings: who may attest, cluster by cluster (feature I2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.spiffe.id import InvalidSpiffeID
from spire_py.spiffe.reserved_path import agent_id
from spire_py_plugins.kubernetes.clusters import read_each_cluster
from spire_py_plugins.kubernetes.in_cluster import Pod

_DEFAULT_AUDIENCE = ("spire-server",)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster whose agents may attest.

    Attributes:
        name: as agents say it.
        service_accounts: `namespace:name` of those that may.
        audiences: of a token; none for the API server's own.
        kubeconfig: None for the cluster that the server itself runs in.
        node_label_keys: labels of the node that become selectors.
        pod_label_keys: labels of the agent's pod that become selectors.
        use_pod_uid: in the agent's ID, instead of the node's.
    """

    name: str
    service_accounts: frozenset[str]
    audiences: tuple[str, ...] = _DEFAULT_AUDIENCE
    kubeconfig: Path | None = None
    node_label_keys: frozenset[str] = frozenset()
    pod_label_keys: frozenset[str] = frozenset()
    use_pod_uid: bool = False


def read_clusters(data: Mapping[str, Any], context: PluginContext, pod: Pod) -> list[Cluster]:
    """The clusters of `plugin_data`, as a map or as blocks, in HCL or JSON.

    Args:
        data: the settings.
        context: gets the warnings.
        pod: where the server runs.

    Raises:
        InvalidArgument: something is wrong; all of it is told.
    """
    settings = Settings(data, context)
    clusters = read_each_cluster(
        settings, data, lambda name, table: _read_cluster(name, table, context, pod)
    )
    settings.finish()
    if not clusters:
        context.warnings.append("No clusters configured, PSAT attestation is effectively disabled")
    return clusters


def _read_cluster(name: str, table: Mapping[str, Any], context: PluginContext, pod: Pod) -> Cluster:
    settings = Settings(table, context)
    allowed = settings.texts("service_account_allow_list")
    if not allowed:
        settings.fault(
            f'cluster "{name}" configuration must have at least one service account allowed'
        )
    kubeconfig = settings.text("kube_config_file")
    cluster = Cluster(
        name=name,
        service_accounts=frozenset(
            _qualified(account, name, settings, context, None if kubeconfig else pod)
            for account in allowed
        ),
        audiences=(settings.texts("audience") if settings.has("audience") else _DEFAULT_AUDIENCE),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        node_label_keys=frozenset(settings.texts("allowed_node_label_keys")),
        pod_label_keys=frozenset(settings.texts("allowed_pod_label_keys")),
        use_pod_uid=settings.flag("use_pod_uid_for_agent_id"),
    )
    settings.finish()
    _check_name(name, context)
    return cluster


def _qualified(
    account: str, cluster: str, settings: Settings, context: PluginContext, pod: Pod | None
) -> str:
    """With the namespace, which guides leave out where it is the server's own.

    `pod` is None for a cluster that may be another than the server's: who owns a namespace of that
    name there is not known here.
    """
    if ":" in account:
        return account
    what = f'cluster "{cluster}": service_account_allow_list has "{account}" without a namespace'
    if pod is None:
        settings.fault(
            f"{what}, and kube_config_file may lead to another cluster than the server's own; "
            f'write "<namespace>:{account}"'
        )
        return account
    if pod.namespace is not None:
        context.warnings.append(
            f'{what}; it is taken as "{pod.namespace}:{account}", in the server\'s own namespace'
        )
        return f"{pod.namespace}:{account}"
    lack = (
        f"{what}, and the server runs outside of a cluster, where it has no namespace of its own; "
        f'write "<namespace>:{account}"'
    )
    if context.trust_bundle is None:
        # `validate`, which may well run elsewhere than the server will.
        context.warnings.append(lack)
    else:
        settings.fault(lack)
    return account


def _check_name(name: str, context: PluginContext) -> None:
    try:
        agent_id(context.trust_domain, f"/k8s_psat/{name}/uid")
    except InvalidSpiffeID:
        context.warnings.append(
            f'cluster "{name}" cannot be used: its name becomes a part of the agents\' SPIFFE IDs, '
            "where only letters, digits, dots, dashes and underscores may stand"
        )
