"""BundlePublisher `k8s_configmap` (feature K18)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from spire_py.config.durations import parse_duration
from spire_py.errors import InvalidArgument, SpireError
from spire_py.plugin_api.bundle_sink import BundleSink, BundleTarget, LoadBundle
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.bundle_format import bundle_to_json, bundle_to_pem
from spire_py_plugins.kubernetes.client import KubernetesClient, resource_version
from spire_py_plugins.kubernetes.clusters import read_each_cluster
from spire_py_plugins.kubernetes.connect import connect
from spire_py_plugins.kubernetes.extra import require_extra
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.kubernetes.permissions import Rule
from spire_py_plugins.kubernetes.resources import CONFIG_MAPS
from spire_py_plugins.kubernetes.upkeep import (
    ConfigMapKey,
    KubernetesTarget,
    missing_rules_of,
    wait_until_config_map_other_than,
)

FIELD_MANAGER = "spire-bundlepublisher-k8s_configmap"
_LEAST_REFRESH_HINT = timedelta(minutes=1)
_MOST_REFRESH_HINT = timedelta(hours=24)


def _spiffe(bundle: Bundle) -> str:
    return _compact(_document(bundle))


def _jwks(bundle: Bundle) -> str:
    """All keys without what SPIFFE adds to a JWKS."""
    keys = [
        {name: value for name, value in key.items() if name != "use"}
        for key in _document(bundle)["keys"]
    ]
    return _compact({"keys": keys})


def _document(bundle: Bundle) -> dict[str, Any]:
    # As in SPIRE, the keys of WIT-SVIDs are not published.
    document: dict[str, Any] = json.loads(bundle_to_json(bundle.with_changes(wit_authorities=())))
    return document


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


_FORMATS: Mapping[str, Callable[[Bundle], str]] = {
    "jwks": _jwks,
    "pem": bundle_to_pem,
    "spiffe": _spiffe,
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to publish in one cluster; a `refresh_hint` of zero leaves the bundle's own."""

    id: str
    place: ConfigMapKey
    format: str
    kubeconfig: Path | None
    refresh_hint: timedelta

    def content(self, bundle: Bundle) -> str:
        """What is to stand in the ConfigMap."""
        if self.refresh_hint:
            bundle = bundle.with_changes(refresh_hint=self.refresh_hint)
        return _FORMATS[self.format](bundle)


class _ConfigMap(KubernetesTarget):
    """One ConfigMap, by server-side apply.

    All keys of it at once: what a manager does not apply any more is removed, so that several
    `clusters` of the settings that name one ConfigMap would remove each other's keys.
    """

    def __init__(self, clusters: Sequence[Cluster], client: KubernetesClient) -> None:
        self._clusters = clusters
        self._place = clusters[0].place
        self._client = client
        self._data: dict[str, str] = {}
        self._version = ""

    @property
    def name(self) -> str:
        return f"{self.cluster}: ConfigMap {self._place.namespace}/{self._place.name}"

    @property
    def cluster(self) -> str:
        """The names that the settings give."""
        return f"cluster {', '.join(cluster.id for cluster in self._clusters)}"

    @property
    def rules(self) -> Sequence[Rule]:
        # Not `create`, which is needed only where the ConfigMap is missing; then that is said.
        place = self._place
        return [Rule(verb, CONFIG_MAPS, place.namespace, place.name) for verb in ("patch", "watch")]

    async def publish(self, load: LoadBundle) -> bool:
        place = self._place
        bundle = await load()
        data = {cluster.place.key: cluster.content(bundle) for cluster in self._clusters}
        body = {"metadata": {"name": place.name, "namespace": place.namespace}, "data": data}
        try:
            applied = await self._client.apply(
                CONFIG_MAPS,
                place.name,
                body,
                field_manager=FIELD_MANAGER,
                namespace=place.namespace,
                # Whoever edits the key owns it from then on; without force it stayed as it was.
                force=True,
            )
        except SpireError as error:
            ids = ", ".join(_quote(cluster.id) for cluster in self._clusters)
            raise type(error)(
                f"failed to apply ConfigMap for cluster {ids}: {error.message}"
            ) from error
        before, self._version = self._version, resource_version(applied)
        self._data = data
        return self._version != before

    async def wait_for_change(self) -> None:
        place = self._place
        await wait_until_config_map_other_than(
            self._client, place.namespace, place.name, self._data
        )


class K8sConfigMap(BundleSink):
    """ConfigMaps of several clusters."""

    def __init__(
        self, clusters: Sequence[Cluster], connect_by: Callable[[Path | None], KubernetesClient]
    ) -> None:
        self._targets: list[tuple[_ConfigMap, KubernetesClient]] = []
        for same in _by_config_map(clusters):
            client = connect_by(same[0].kubeconfig)
            self._targets.append((_ConfigMap(same, client), client))

    @property
    def targets(self) -> Sequence[BundleTarget]:
        return [target for target, _ in self._targets]

    async def check_surroundings(self) -> Sequence[str]:
        """Name the RBAC rules that are missing."""
        return await missing_rules_of(
            (target.cluster, client, [target]) for target, client in self._targets
        )

    async def aclose(self) -> None:
        for _, client in self._targets:
            await client.aclose()


def configure(data: Mapping[str, Any], context: PluginContext) -> K8sConfigMap:
    """The plugin, in the pod that this process may be in."""
    return configure_in(Pod(), data, context)


def configure_in(pod: Pod, data: Mapping[str, Any], context: PluginContext) -> K8sConfigMap:
    """The plugin, as if the server ran in `pod`."""
    require_extra()
    return K8sConfigMap(_read_clusters(data, context), lambda path: connect(path, pod))


def _by_config_map(clusters: Sequence[Cluster]) -> Iterable[Sequence[Cluster]]:
    """Those together that name the same ConfigMap."""
    groups: dict[tuple[Path | None, str, str], list[Cluster]] = {}
    for cluster in clusters:
        where = (cluster.kubeconfig, cluster.place.namespace, cluster.place.name)
        groups.setdefault(where, []).append(cluster)
    return groups.values()


def _read_clusters(data: Mapping[str, Any], context: PluginContext) -> list[Cluster]:
    settings = Settings(data, context)
    clusters = read_each_cluster(
        settings, data, lambda name, table: _read_cluster(name, table, context)
    )
    settings.finish()
    if not clusters:
        context.warnings.append("No clusters configured, bundle will not be published")
    return clusters


def _read_cluster(cluster_id: str, table: Mapping[str, Any], context: PluginContext) -> Cluster:
    name = _quote(cluster_id)
    settings = Settings(table, context)
    bundle_format = settings.text("format")
    place = ConfigMapKey(
        settings.text("namespace"), settings.text("configmap_name"), settings.text("configmap_key")
    )
    for what, given in (
        ("bundle format", bundle_format),
        ("namespace", place.namespace),
        ("configmap name", place.name),
        ("configmap key", place.key),
    ):
        if not given:
            settings.fault(f"missing {what} in cluster {name}")
    if bundle_format and bundle_format.lower() not in _FORMATS:
        settings.fault(
            f"could not parse bundle format from cluster {name}: "
            f"unknown bundle format: {_quote(bundle_format)}"
        )
    kubeconfig = settings.text("kubeconfig_path")
    cluster = Cluster(
        cluster_id,
        place,
        bundle_format.lower(),
        Path(kubeconfig) if kubeconfig else None,
        _read_refresh_hint(settings, name, context),
    )
    settings.finish()
    return cluster


def _read_refresh_hint(settings: Settings, cluster: str, context: PluginContext) -> timedelta:
    text = settings.text("refresh_hint")
    if not text:
        return timedelta()
    try:
        hint = parse_duration(text)
    except InvalidArgument as error:
        settings.fault(
            f"could not parse refresh_hint from cluster {cluster}: "
            f"could not parse refresh hint {_quote(text)}: {error.message}"
        )
        return timedelta()
    if hint >= _MOST_REFRESH_HINT:
        context.warnings.append(
            f"refresh_hint of cluster {cluster} is a day or more: after an unscheduled change of "
            "the bundle, those who read it may take as long; 5m is a good value"
        )
    if hint < _LEAST_REFRESH_HINT:
        context.warnings.append(
            f"refresh_hint of cluster {cluster} is below a minute; SPIRE reads no more often"
        )
    # SPIRE counts whole seconds; what is left of less is no hint.
    return timedelta(seconds=max(0, hint // timedelta(seconds=1)))


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
