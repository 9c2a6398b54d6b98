"""The RBAC rules that the plugins' pages print are enough, and each of them is needed."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from spire_py_plugins.bundle_publisher import k8s_configmap
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.node_attestor.k8s_psat import server as k8s_psat
from spire_py_plugins.notifier import k8sbundle

from spire_py.errors import SpireError
from spire_py.plugin_api.bundle_sink import BundleSink
from spire_py.plugin_api.context import PluginContext
from tests.contracts.node_attestor import no_challenge
from tests.fakes.bundles import TRUST_DOMAIN, BundleSource, make_bundle
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.kubernetes.kinds import ALL, CONFIG_MAPS, Kind
from tests.fakes.kubernetes.rbac import printed_rights
from tests.fakes.kubernetes.store import Key

ROLES = {"Role", "ClusterRole"}
LABEL = "example.org/inject"

Documents = list[dict[str, Any]]
Use = Callable[[FakeKubernetes, Path], Awaitable[None]]


def without_each_right(documents: Documents) -> Iterator[tuple[str, Documents]]:
    """The documents with one verb for one resource left out, and which."""
    for at, document in enumerate(documents):
        for number, rule in enumerate(document.get("rules", ())):
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    changed = copy.deepcopy(documents)
                    rules = changed[at]["rules"]
                    others = [each for each in rule["resources"] if each != resource]
                    verbs = [each for each in rule["verbs"] if each != verb]
                    rules[number]["resources"] = others
                    rules.append({**rule, "resources": [resource], "verbs": verbs})
                    yield f"{verb} {resource}", changed


async def use_k8s_psat(cluster: FakeKubernetes, kubeconfig: Path) -> None:
    cluster.add_node("node-1")
    pod = cluster.add_pod("spire", "agent", node="node-1")
    settings = {
        "service_account_allow_list": ["spire:spire-agent"],
        "kube_config_file": str(kubeconfig),
    }
    data = {"clusters": {"one": settings}}
    server = k8s_psat.configure_in(Pod(), data, PluginContext(TRUST_DOMAIN))
    payload = json.dumps({"cluster": "one", "token": cluster.issue_token(pod)}).encode()
    try:
        await server.attest(payload, no_challenge)
    finally:
        await server.aclose()


def make_k8sbundle(kubeconfig: Path) -> BundleSink:
    data = {
        "kube_config_file_path": str(kubeconfig),
        "webhook_label": LABEL,
        "api_service_label": LABEL,
    }
    return k8sbundle.configure_in(Pod(), data, PluginContext(TRUST_DOMAIN))


async def use_k8sbundle(cluster: FakeKubernetes, kubeconfig: Path) -> None:
    kinds = [kind for kind in ALL if "webhook" in kind.plural or kind.plural == "apiservices"]
    for kind in kinds:
        webhooks = [{"name": "a", "clientConfig": {}}] if "webhook" in kind.plural else []
        metadata = {"labels": {LABEL: "true"}}
        cluster.add(kind, "ours", metadata=metadata, webhooks=webhooks, spec={})
    await _use(make_k8sbundle(kubeconfig), cluster, kinds)


def make_k8s_configmap(kubeconfig: Path) -> BundleSink:
    settings = {
        "namespace": "spire",
        "configmap_name": "spire-bundle",
        "configmap_key": "bundle.crt",
        "format": "pem",
        "kubeconfig_path": str(kubeconfig),
    }
    data = {"clusters": {"one": settings}}
    return k8s_configmap.configure_in(Pod(), data, PluginContext(TRUST_DOMAIN))


async def use_k8s_configmap(cluster: FakeKubernetes, kubeconfig: Path) -> None:
    await _use(make_k8s_configmap(kubeconfig), cluster, [])


async def _use(sink: BundleSink, cluster: FakeKubernetes, kinds: list[Kind]) -> None:
    """Make all copies, change them, and notice that someone else did."""
    source = BundleSource(make_bundle())
    try:
        for _ in range(2):
            for target in sink.targets:
                await target.publish(source.load)
            source.bundle = make_bundle()
        merge = "application/merge-patch+json"
        key = Key(CONFIG_MAPS, "spire", "spire-bundle")
        cluster.store.patch(key, {"data": {"bundle.crt": ""}}, merge, "x")
        for kind in kinds:
            wrong = {"webhooks": [{"name": "a", "clientConfig": {}}], "spec": {"caBundle": ""}}
            cluster.store.patch(Key(kind, "", "ours"), wrong, merge, "x")
        async with asyncio.timeout(20):
            for target in sink.targets:
                await target.wait_for_change()
    finally:
        await sink.aclose()


PLUGINS = {
    "node_attestor_k8s_psat": use_k8s_psat,
    "notifier_k8sbundle": use_k8sbundle,
    "bundle_publisher_k8s_configmap": use_k8s_configmap,
}


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.mark.parametrize(("page", "use"), PLUGINS.items(), ids=list(PLUGINS))
async def test_the_rights_on_the_page_are_enough(
    page: str, use: Use, cluster: FakeKubernetes, tmp_path: Path
) -> None:
    documents = printed_rights(page)
    assert {each["kind"] for each in documents} & ROLES
    cluster.rules.grant(documents)
    await use(cluster, cluster.write_kubeconfig(tmp_path / "kubeconfig"))


@pytest.mark.parametrize(
    ("use", "documents"),
    [
        pytest.param(use, documents, id=f"{page} without {what}")
        for page, use in PLUGINS.items()
        for what, documents in without_each_right(printed_rights(page))
    ],
)
async def test_each_right_on_the_page_is_needed(
    use: Use, documents: Documents, cluster: FakeKubernetes, tmp_path: Path
) -> None:
    cluster.rules.grant(documents)
    with pytest.raises(SpireError, match="is forbidden"):
        await use(cluster, cluster.write_kubeconfig(tmp_path / "kubeconfig"))


SINKS = {
    "notifier_k8sbundle": make_k8sbundle,
    "bundle_publisher_k8s_configmap": make_k8s_configmap,
}


@pytest.mark.parametrize(("page", "make"), SINKS.items(), ids=list(SINKS))
async def test_a_right_that_is_missing_is_told_at_the_start(
    page: str, make: Callable[[Path], BundleSink], tmp_path: Path
) -> None:
    variants = [*without_each_right(printed_rights(page)), ("", printed_rights(page))]
    for what, documents in variants:
        verb, _, plural = what.partition(" ")
        with FakeKubernetes() as cluster:
            cluster.rules.grant(documents)
            sink = make(cluster.write_kubeconfig(tmp_path / "kubeconfig"))
            told = await sink.check_surroundings()
            await sink.aclose()
        if verb in {"", "create"}:
            # To make a ConfigMap is a right that most do not need.
            assert told == []
        else:
            (sentence,) = told
            assert f'resources: ["{plural}"]' in sentence
            assert f'verbs: ["{verb}"]' in sentence


async def test_a_cluster_that_is_away_is_told_once(tmp_path: Path) -> None:
    with FakeKubernetes() as cluster:
        sink = make_k8sbundle(cluster.write_kubeconfig(tmp_path / "kubeconfig"))
    (sentence,) = await sink.check_surroundings()
    assert "the Kubernetes API server cannot be used: " in sentence
    await sink.aclose()


async def test_rights_of_another_service_account_or_namespace_are_none(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    text = yaml.safe_dump_all(printed_rights("notifier_k8sbundle"))
    for changed in (
        text.replace("name: spire-server\n", "name: other\n"),
        text.replace("namespace: spire\n", "namespace: other\n"),
    ):
        assert changed != text
        with FakeKubernetes() as another:
            another.rules.grant(list(yaml.safe_load_all(changed)))
            with pytest.raises(SpireError, match="is forbidden"):
                await use_k8sbundle(another, another.write_kubeconfig(tmp_path / "kubeconfig"))
