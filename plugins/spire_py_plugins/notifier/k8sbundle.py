"""Notifier `k8sbundle`: the X.509 authorities in a ConfigMap and as caBundle (feature K16)."""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from spire_py.config.tree import merge
from spire_py.errors import AlreadyExists, Internal, InvalidArgument, NotFound, SpireError
from spire_py.plugin_api.bundle_sink import BundleSink, BundleTarget, LoadBundle
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.spiffe.bundle_format import bundle_to_pem
from spire_py_plugins.kubernetes.client import (
    KubernetesClient,
    Object,
    PatchType,
    resource_version,
)
from spire_py_plugins.kubernetes.connect import connect
from spire_py_plugins.kubernetes.errors import Conflict
from spire_py_plugins.kubernetes.extra import require_extra
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.kubernetes.permissions import Rule
from spire_py_plugins.kubernetes.resources import (
    API_SERVICES,
    CONFIG_MAPS,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    Resource,
)
from spire_py_plugins.kubernetes.upkeep import (
    ConfigMapKey,
    KubernetesTarget,
    missing_rules_of,
    object_name,
    section,
    wait_until_config_map_other_than,
    wait_until_wrong,
)

_TRIES = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What to keep right in one cluster; an empty label asks for nothing."""

    place: ConfigMapKey
    webhook_label: str
    api_service_label: str
    kubeconfig: Path | None


class _ConfigMap(KubernetesTarget):
    """A key of a ConfigMap, which is made where it is missing."""

    def __init__(self, where: str, place: ConfigMapKey, client: KubernetesClient) -> None:
        self._where = where
        self._place = place
        self._client = client
        self._content = ""

    @property
    def name(self) -> str:
        return f"{self._where}: ConfigMap {self._place.namespace}/{self._place.name}"

    @property
    def rules(self) -> Sequence[Rule]:
        # Not `create`, which is needed only where the ConfigMap is missing; then that is said.
        place = self._place
        verbs = ("get", "patch", "watch")
        return [Rule(verb, CONFIG_MAPS, place.namespace, place.name) for verb in verbs]

    async def publish(self, load: LoadBundle) -> bool:
        return await _retried(partial(self._write, load))

    async def _write(self, load: LoadBundle) -> bool:
        place = self._place
        try:
            found = await self._client.get(CONFIG_MAPS, place.name, place.namespace)
        except NotFound:
            found = None
        self._content = bundle_to_pem(await load())
        data = {place.key: self._content}
        if found is None:
            body = {"metadata": {"name": place.name, "namespace": place.namespace}, "data": data}
            await self._create(body)
            return True
        if place.read(found) == self._content:
            return False
        patch = {"metadata": {"resourceVersion": resource_version(found)}, "data": data}
        await self._client.patch(
            CONFIG_MAPS, place.name, patch, PatchType.STRATEGIC_MERGE, place.namespace
        )
        return True

    async def _create(self, body: Object) -> None:
        try:
            await self._client.create(CONFIG_MAPS, body, self._place.namespace)
        except AlreadyExists as error:
            raise Conflict(error.message) from error
        except SpireError as error:
            raise type(error)(
                f"there is no such ConfigMap, and it cannot be created: {error.message}"
            ) from error

    async def wait_for_change(self) -> None:
        place = self._place
        await wait_until_config_map_other_than(
            self._client, place.namespace, place.name, {place.key: self._content}
        )


class _LabelledObjects(KubernetesTarget):
    """All objects of a kind that have the label with the value `true`."""

    def __init__(self, where: str, resource: Resource, label: str, client: KubernetesClient):
        self._where = where
        self._resource = resource
        self._selector = f"{label}=true"
        self._client = client
        self._ca_bundle = ""

    @property
    def name(self) -> str:
        return f"{self._where}: {self._resource.plural} with label {self._selector}"

    @property
    def rules(self) -> Sequence[Rule]:
        return [Rule(verb, self._resource) for verb in ("get", "list", "patch", "watch")]

    async def publish(self, load: LoadBundle) -> bool:
        found, _ = await self._client.list(self._resource, label_selector=self._selector)
        self._ca_bundle = await _ca_bundle(load)
        written = False
        problems: list[str] = []
        for each in found:
            if self._is_right(each, self._ca_bundle):
                continue
            name = object_name(each)
            try:
                written |= await _retried(partial(self._write, name, load))
            except NotFound:
                continue
            except SpireError as error:
                problems.append(f"{name}: {error.message}")
        if problems:
            raise Internal(f"unable to update: {', '.join(problems)}")
        return written

    async def _write(self, name: str, load: LoadBundle) -> bool:
        found = await self._client.get(self._resource, name)
        self._ca_bundle = await _ca_bundle(load)
        if self._is_right(found, self._ca_bundle):
            return False
        patch = {
            "metadata": {"resourceVersion": resource_version(found)},
            **self._patch(found, self._ca_bundle),
        }
        await self._client.patch(self._resource, name, patch, PatchType.STRATEGIC_MERGE)
        return True

    @abstractmethod
    def _is_right(self, found: Object, ca_bundle: str) -> bool: ...

    @abstractmethod
    def _patch(self, found: Object, ca_bundle: str) -> Object: ...

    async def wait_for_change(self) -> None:
        await wait_until_wrong(
            self._client,
            self._resource,
            label_selector=self._selector,
            is_right=lambda found: self._is_right(found, self._ca_bundle),
            may_go=True,
        )


class _Webhooks(_LabelledObjects):
    """Webhook configurations; each webhook in them gets the bundle."""

    def _is_right(self, found: Object, ca_bundle: str) -> bool:
        return all(
            section(webhook, "clientConfig").get("caBundle") == ca_bundle
            for webhook in _webhooks(found)
        )

    def _patch(self, found: Object, ca_bundle: str) -> Object:
        return {
            "webhooks": [
                {"name": webhook.get("name"), "clientConfig": {"caBundle": ca_bundle}}
                for webhook in _webhooks(found)
            ]
        }


class _APIServices(_LabelledObjects):
    """Aggregated APIs."""

    def _is_right(self, found: Object, ca_bundle: str) -> bool:
        return section(found, "spec").get("caBundle") == ca_bundle

    def _patch(self, found: Object, ca_bundle: str) -> Object:  # noqa: ARG002
        return {"spec": {"caBundle": ca_bundle}}


def _webhooks(found: Object) -> list[Object]:
    webhooks = found.get("webhooks")
    if not isinstance(webhooks, list):
        return []
    return [webhook for webhook in webhooks if isinstance(webhook, dict)]


async def _ca_bundle(load: LoadBundle) -> str:
    return base64.b64encode(bundle_to_pem(await load()).encode()).decode()


async def _retried(write: Callable[[], Awaitable[T]]) -> T:
    """Again, from the reading on, where the object has changed meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return await write()
        except Conflict:
            continue
    return await write()


class K8sBundle(BundleSink):
    """What is to be kept right in each of several clusters."""

    def __init__(self, clusters: Sequence[tuple[Cluster, KubernetesClient]]) -> None:
        self._clusters = [
            (_where(cluster), client, list(_targets(cluster, client)))
            for cluster, client in clusters
        ]

    @property
    def targets(self) -> Sequence[BundleTarget]:
        return [target for _, _, targets in self._clusters for target in targets]

    async def check_surroundings(self) -> Sequence[str]:
        """Name the RBAC rules that are missing."""
        return await missing_rules_of(self._clusters)

    async def aclose(self) -> None:
        for _, client, _ in self._clusters:
            await client.aclose()


def _where(cluster: Cluster) -> str:
    return str(cluster.kubeconfig or "this cluster")


def _targets(cluster: Cluster, client: KubernetesClient) -> Iterator[KubernetesTarget]:
    where = _where(cluster)
    yield _ConfigMap(where, cluster.place, client)
    if cluster.webhook_label:
        for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            yield _Webhooks(where, resource, cluster.webhook_label, client)
    if cluster.api_service_label:
        yield _APIServices(where, API_SERVICES, cluster.api_service_label, client)


def configure(data: Mapping[str, Any], context: PluginContext) -> K8sBundle:
    """The plugin, in the pod that this process may be in."""
    return configure_in(Pod(), data, context)


def configure_in(pod: Pod, data: Mapping[str, Any], context: PluginContext) -> K8sBundle:
    """The plugin, as if the server ran in `pod`."""
    require_extra()
    clusters = _read_clusters(data, context)
    return K8sBundle([(cluster, connect(cluster.kubeconfig, pod)) for cluster in clusters])


def _read_clusters(data: Mapping[str, Any], context: PluginContext) -> list[Cluster]:
    settings = Settings(data, context)
    settings.has("clusters")
    root, has_root = _read_cluster(settings)
    blocks = data.get("clusters") or []
    further: list[Cluster] = []
    for block in blocks if isinstance(blocks, list) else [blocks]:
        try:
            table = Settings(merge(block), context)
            cluster, _ = _read_cluster(table)
            if cluster.kubeconfig is None:
                settings.fault("cluster configuration is missing kube_config_file_path")
            table.finish()
            further.append(cluster)
        except InvalidArgument as error:
            settings.fault(f"clusters: {error.message}")
    settings.finish()
    return [root, *further] if has_root or not further else further


def _read_cluster(settings: Settings) -> tuple[Cluster, bool]:
    """With the defaults; and whether anything at all is set."""
    keys = (
        "namespace",
        "config_map",
        "config_map_key",
        "webhook_label",
        "api_service_label",
        "kube_config_file_path",
    )
    given = [settings.text(key) for key in keys]
    namespace, config_map, key, webhook_label, api_service_label, kubeconfig = given
    place = ConfigMapKey(namespace or "spire", config_map or "spire-bundle", key or "bundle.crt")
    cluster = Cluster(
        place, webhook_label, api_service_label, Path(kubeconfig) if kubeconfig else None
    )
    return cluster, any(given)
