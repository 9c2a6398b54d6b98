"""NodeAttestor `k8s_psat`, the server's end (features I2, I4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from spire_py.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    SpireError,
)
from spire_py.model.selector import Selector
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import agent_id
from spire_py_plugins.kubernetes.client import KubernetesClient, Object
from spire_py_plugins.kubernetes.connect import connect
from spire_py_plugins.kubernetes.extra import require_extra
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.kubernetes.permissions import Rule, missing_rules
from spire_py_plugins.kubernetes.resources import NODES, PODS, TOKEN_REVIEWS, Resource
from spire_py_plugins.node_attestor.k8s_psat.config import Cluster, read_clusters
from spire_py_plugins.node_attestor.k8s_psat.payload import PLUGIN_NAME, Payload
from spire_py_plugins.node_attestor.k8s_psat.review import (
    TokenReview,
    fetch_review,
    read_review,
)

_MAX_SHOWN = 253
_MAX_ERROR = 2000


class K8sPsatServer(ServerNodeAttestor):
    """Has an agent's token reviewed by its cluster, then looks its pod and its node up there."""

    def __init__(
        self, trust_domain: TrustDomain, clusters: Sequence[tuple[Cluster, KubernetesClient]]
    ) -> None:
        self._clusters = {
            cluster.name: _ClusterAttestor(trust_domain, cluster, client)
            for cluster, client in clusters
        }

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:  # noqa: ARG002
        presented = Payload.parse(payload)
        cluster = self._clusters.get(presented.cluster)
        if cluster is None:
            # Whoever can connect may say anything, which goes into the log.
            shown = _quote(presented.cluster[:_MAX_SHOWN])
            raise InvalidArgument(f"not configured for cluster {shown}")
        try:
            return await cluster.attest(presented.token)
        except SpireError as error:
            if len(error.message) <= _MAX_ERROR:
                raise
            # An API server's words, which are as long as it likes.
            raise type(error)(f"{error.message[:_MAX_ERROR]}…") from error

    async def check_surroundings(self) -> Sequence[str]:
        return [
            sentence
            for cluster in self._clusters.values()
            for sentence in await cluster.check_surroundings()
        ]

    async def aclose(self) -> None:
        for cluster in self._clusters.values():
            await cluster.aclose()


class _ClusterAttestor:
    """Attests the agents of one cluster."""

    def __init__(
        self, trust_domain: TrustDomain, cluster: Cluster, client: KubernetesClient
    ) -> None:
        self._trust_domain = trust_domain
        self._cluster = cluster
        self._client = client
        self._name = _quote(cluster.name)

    async def attest(self, token: str) -> NodeAttestation:
        review = await self._review(token)
        namespace, service_account = self._service_account(review)
        with self._failing("get pod name from token review status"):
            pod_name = review.pod_name
        with self._failing("get pod UID from token review status"):
            pod_uid = review.pod_uid
        with self._failing("get pod from k8s API server"):
            pod = await self._get(PODS, pod_name, namespace)
        if _metadata(pod, "uid") != pod_uid:
            raise PermissionDenied(
                f"pod UID mismatch for pod {_quote(pod_name)} in cluster {self._name}: "
                f"token bound to pod UID {_quote(pod_uid)}"
            )
        node_name = _text(_section(pod, "spec").get("nodeName"))
        with self._failing("get node from k8s API server"):
            node = await self._get(NODES, node_name)
        node_uid = _metadata(node, "uid")
        if not node_uid:
            raise Internal(f"node UID is empty for cluster {self._name}")
        values = [
            f"cluster:{self._cluster.name}",
            f"agent_ns:{namespace}",
            f"agent_sa:{service_account}",
            f"agent_pod_name:{pod_name}",
            f"agent_pod_uid:{pod_uid}",
            f"agent_node_ip:{_text(_section(pod, 'status').get('hostIP'))}",
            f"agent_node_name:{node_name}",
            f"agent_node_uid:{node_uid}",
            *_labels("agent_node_label", node, self._cluster.node_label_keys),
            *_labels("agent_pod_label", pod, self._cluster.pod_label_keys),
        ]
        return NodeAttestation(
            self._agent_id(node_uid, pod_uid),
            tuple(Selector(PLUGIN_NAME, value) for value in values),
            can_reattest=True,
        )

    async def _review(self, token: str) -> TokenReview:
        try:
            with _querying("token review"):
                answer = await fetch_review(self._client, token, self._cluster.audiences)
            review = read_review(answer, self._cluster.audiences)
        except SpireError as error:
            raise Internal(
                f"unable to validate token with TokenReview API for cluster {self._name}: "
                f"{error.message}"
            ) from error
        if not review.authenticated:
            raise PermissionDenied(
                f"token not authenticated according to TokenReview API for cluster {self._name}"
            )
        return review

    def _service_account(self, review: TokenReview) -> tuple[str, str]:
        with self._failing("parse username from token review status"):
            namespace, name = review.service_account
        full_name = f"{namespace}:{name}"
        if full_name not in self._cluster.service_accounts:
            raise PermissionDenied(
                f"{_quote(full_name)} is not an allowed service account for cluster {self._name}"
            )
        return namespace, name

    async def _get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        resource.path(name, namespace)  # what is no name is told without asking
        with _querying(resource.plural):
            return await self._client.get(resource, name, namespace)

    def _agent_id(self, node_uid: str, pod_uid: str) -> SpiffeID:
        suffix = f"pod/{pod_uid}" if self._cluster.use_pod_uid else node_uid
        try:
            return agent_id(self._trust_domain, f"/{PLUGIN_NAME}/{self._cluster.name}/{suffix}")
        except InvalidSpiffeID as error:
            raise Internal(f"failed to create agent ID: {error.message}") from error

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except SpireError as error:
            raise Internal(f"failed to {what} for cluster {self._name}: {error.message}") from error

    async def check_surroundings(self) -> list[str]:
        namespaces = sorted({name.partition(":")[0] for name in self._cluster.service_accounts})
        rules = [
            Rule("create", TOKEN_REVIEWS),
            *(Rule("get", PODS, namespace) for namespace in namespaces),
            Rule("get", NODES),
        ]
        found = await missing_rules(self._client, rules)
        return [f"cluster {self._name}: {sentence}" for sentence in found]

    async def aclose(self) -> None:
        await self._client.aclose()


@contextmanager
def _querying(what: str) -> Iterator[None]:
    try:
        yield
    except FailedPrecondition as error:
        raise Internal(
            f"unable to get clientset: unable to create client config: {error.message}"
        ) from error
    except SpireError as error:
        raise Internal(f"unable to query {what} API: {error.message}") from error


def _labels(kind: str, document: Object, keys: frozenset[str]) -> list[str]:
    labels = _section(_section(document, "metadata"), "labels")
    return [f"{kind}:{key}:{_text(labels[key])}" for key in sorted(keys & labels.keys())]


def _section(document: Object, name: str) -> Object:
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _metadata(document: Object, name: str) -> str:
    return _text(_section(document, "metadata").get(name))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def configure(data: Mapping[str, Any], context: PluginContext) -> K8sPsatServer:
    """The plugin, in the pod that this process may be in."""
    return configure_in(Pod(), data, context)


def configure_in(pod: Pod, data: Mapping[str, Any], context: PluginContext) -> K8sPsatServer:
    """The plugin, as if the server ran in `pod`."""
    require_extra()
    clusters = read_clusters(data, context, pod)
    return K8sPsatServer(
        context.trust_domain, [(cluster, connect(cluster.kubeconfig, pod)) for cluster in clusters]
    )
