"""Notifier k8sbundle: ConfigMaps and caBundles are made right, cluster by cluster."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.notifier.k8sbundle import K8sBundle, configure_in

from spire_py.config.hcl import parse
from spire_py.errors import FailedPrecondition, InvalidArgument, PermissionDenied, SpireError
from spire_py.plugin_api.bundle_sink import BundleTarget
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.bundle_format import bundle_to_pem
from tests.fakes.bundles import TRUST_DOMAIN, BundleSource, make_bundle
from tests.fakes.kubernetes import FakeKubernetes, Fault
from tests.fakes.kubernetes.kinds import CONFIG_MAPS, find
from tests.fakes.kubernetes.store import Key

OUTSIDE = Pod(Path("/nowhere"), {})
BUNDLE = Key(CONFIG_MAPS, "spire", "spire-bundle")
MUTATING = "mutatingwebhookconfigurations"
VALIDATING = "validatingwebhookconfigurations"

Make = Callable[..., K8sBundle]


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def source() -> BundleSource:
    return BundleSource(make_bundle())


@pytest.fixture
async def make(cluster: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[K8sBundle] = []

    def make_one(**settings: Any) -> K8sBundle:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        settings.setdefault("kube_config_file_path", str(kubeconfig))
        made.append(configure_in(OUTSIDE, settings, PluginContext(TRUST_DOMAIN)))
        return made[-1]

    yield make_one
    for sink in made:
        await sink.aclose()


async def publish(sink: K8sBundle, source: BundleSource) -> list[bool]:
    return [await target.publish(source.load) for target in sink.targets]


def content(cluster: FakeKubernetes) -> dict[str, str]:
    data: dict[str, str] = cluster.config_map("spire", "spire-bundle")["data"]
    return data


def names(sink: K8sBundle) -> list[str]:
    return [target.name for target in sink.targets]


async def test_the_key_is_written_beside_others_and_only_when_it_is_wrong(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    cluster.add_config_map("spire", "spire-bundle", {"other": "kept", "bundle.crt": "old"})
    sink = make()
    assert await publish(sink, source) == [True]
    assert content(cluster) == {"other": "kept", "bundle.crt": bundle_to_pem(source.bundle)}
    assert await publish(sink, source) == [False]
    source.bundle = make_bundle()
    assert await publish(sink, source) == [True]
    assert content(cluster)["bundle.crt"] == bundle_to_pem(source.bundle)
    assert sum(request.startswith("PATCH") for request in cluster.requests) == 2


async def test_a_missing_config_map_is_created(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    sink = make(namespace="infra", config_map="agents", config_map_key="bootstrap.crt")
    assert await publish(sink, source) == [True]
    made = cluster.config_map("infra", "agents")
    assert made["data"] == {"bootstrap.crt": bundle_to_pem(source.bundle)}


async def test_without_the_right_to_create_one_that_is_said(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    cluster.rules.denied.add(("create", "configmaps"))
    with pytest.raises(PermissionDenied) as error:
        await publish(make(), source)
    assert "there is no such ConfigMap, and it cannot be created: " in error.value.message
    assert 'cannot create resource "configmaps"' in error.value.message


async def test_a_conflict_is_tried_again_with_the_newest_bundle(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    cluster.add_config_map("spire", "spire-bundle", {})
    newer = make_bundle(2)
    loads = 0

    async def load() -> Bundle:
        nonlocal loads
        loads += 1
        if loads == 1:
            # Another server is faster.
            patch = {"data": {"bundle.crt": "of another server"}}
            cluster.store.patch(BUNDLE, patch, "application/merge-patch+json", "other")
            return source.bundle
        return newer

    (target,) = make().targets
    assert await target.publish(load)
    assert loads == 2
    assert content(cluster) == {"bundle.crt": bundle_to_pem(newer)}


async def test_who_watches_learns_of_an_edit(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    (target,) = make().targets
    await target.publish(source.load)
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(target.wait_for_change())
        for data in ({"other": "is nobody's business"}, {"bundle.crt": "x"}):
            patch = {"data": data}
            cluster.store.patch(BUNDLE, patch, "application/merge-patch+json", "kubectl")
        await waiting
    assert await target.publish(source.load)
    assert content(cluster)["bundle.crt"] == bundle_to_pem(source.bundle)


async def test_who_watches_learns_of_a_deletion(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    (target,) = make().targets
    await target.publish(source.load)
    right = content(cluster)
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(target.wait_for_change())
        # Again and again, because nobody can tell from outside when the watch has begun.
        while not waiting.done():
            cluster.store.delete(BUNDLE)
            cluster.add_config_map("spire", "spire-bundle", right)
            await asyncio.sleep(0)
        await waiting
    cluster.store.delete(BUNDLE)
    assert await target.publish(source.load)
    assert content(cluster) == right


def add_webhooks(
    cluster: FakeKubernetes, plural: str, name: str, hooks: int = 2, label: str = "true"
) -> Key:
    kind = find("admissionregistration.k8s.io", "v1", plural)
    assert kind is not None
    cluster.add(
        kind,
        name,
        metadata={"labels": {"spiffe.io/webhook": label}},
        webhooks=[
            {"name": f"{number}.example.org", "clientConfig": {"url": "https://x"}, "rules": [1]}
            for number in range(hooks)
        ],
    )
    return Key(kind, "", name)


def add_api_service(cluster: FakeKubernetes) -> Key:
    kind = find("apiregistration.k8s.io", "v1", "apiservices")
    assert kind is not None
    labels = {"spiffe.io/api_service": "true"}
    spec = {"groupPriorityMinimum": 5, "versionPriority": 6}
    cluster.add(kind, "v1.example.org", metadata={"labels": labels}, spec=spec)
    return Key(kind, "", "v1.example.org")


def ca_bundle(bundle: Bundle) -> str:
    return base64.b64encode(bundle_to_pem(bundle).encode()).decode()


async def test_labelled_webhooks_and_api_services_get_the_bundle(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    keys = [add_webhooks(cluster, plural, "ours") for plural in (MUTATING, VALIDATING)]
    other = add_webhooks(cluster, MUTATING, "other", label="false")
    service = add_api_service(cluster)
    sink = make(webhook_label="spiffe.io/webhook", api_service_label="spiffe.io/api_service")
    assert await publish(sink, source) == [True] * 4
    for key in keys:
        webhooks = cluster.store.get(key)["webhooks"]
        assert [(each["name"], each["rules"], each["clientConfig"]) for each in webhooks] == [
            (f"{number}.example.org", [1], {"url": "https://x", "caBundle": wanted})
            for number, wanted in enumerate([ca_bundle(source.bundle)] * 2)
        ]
    assert cluster.store.get(service)["spec"] == {
        "groupPriorityMinimum": 5,
        "versionPriority": 6,
        "caBundle": ca_bundle(source.bundle),
    }
    assert "caBundle" not in str(cluster.store.get(other))
    assert await publish(sink, source) == [False] * 4


async def test_a_newer_ca_bundle_of_another_server_is_not_replaced(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    service = add_api_service(cluster)
    newer = make_bundle(2)
    loads = 0

    async def load() -> Bundle:
        nonlocal loads
        loads += 1
        if loads == 2:
            # The object was read, and is not written yet.
            patch = {"spec": {"caBundle": ca_bundle(newer)}}
            cluster.store.patch(service, patch, "application/merge-patch+json", "other")
        return newer if loads > 2 else source.bundle

    target = make(api_service_label="spiffe.io/api_service").targets[1]
    assert not await target.publish(load)
    assert loads == 3
    assert cluster.store.get(service)["spec"]["caBundle"] == ca_bundle(newer)


async def test_a_webhook_that_is_made_later_is_noticed(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    add_webhooks(cluster, MUTATING, "first")
    target = make(webhook_label="spiffe.io/webhook").targets[1]
    assert await target.publish(source.load)
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(target.wait_for_change())
        key = add_webhooks(cluster, MUTATING, "later")
        await waiting
    assert await target.publish(source.load)
    assert cluster.store.get(key)["webhooks"][0]["clientConfig"]["caBundle"]


async def test_one_object_that_cannot_be_written_does_not_stop_others(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    add_webhooks(cluster, MUTATING, "bad")
    good = add_webhooks(cluster, MUTATING, "good")
    cluster.faults.add(Fault.FORBIDDEN, f"PATCH /apis/admissionregistration.k8s.io/v1/{MUTATING}/b")
    target = make(webhook_label="spiffe.io/webhook").targets[1]
    with pytest.raises(SpireError) as error:
        await target.publish(source.load)
    assert error.value.message.startswith("unable to update: bad: ")
    assert cluster.store.get(good)["webhooks"][0]["clientConfig"]["caBundle"]


@pytest.mark.parametrize(
    "fault", [Fault.UNAVAILABLE, Fault.DROP, Fault.HALF_JSON, Fault.NO_JSON, Fault.LIST]
)
async def test_a_broken_api_server_is_an_error_of_that_target(
    cluster: FakeKubernetes, make: Make, source: BundleSource, fault: Fault
) -> None:
    cluster.faults.add(fault)
    target: BundleTarget
    (target,) = make().targets
    with pytest.raises(SpireError):
        await target.publish(source.load)
    with pytest.raises(SpireError):
        async with asyncio.timeout(10):
            await target.wait_for_change()


async def test_in_a_cluster_the_pods_own_access_is_used(
    cluster: FakeKubernetes, source: BundleSource, tmp_path: Path
) -> None:
    folder = tmp_path / "serviceaccount"
    own = Pod(folder, cluster.write_service_account(folder))
    sink = configure_in(own, {}, PluginContext(TRUST_DOMAIN))
    assert await publish(sink, source) == [True]
    assert content(cluster) == {"bundle.crt": bundle_to_pem(source.bundle)}
    await sink.aclose()


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        pytest.param({}, "unable to load in-cluster configuration", id="no cluster"),
        pytest.param({"kube_config_file_path": "/nowhere"}, "/nowhere", id="no kubeconfig"),
    ],
)
async def test_an_access_that_is_missing_is_told_when_it_is_used(
    source: BundleSource, settings: dict[str, str], missing: str
) -> None:
    sink = configure_in(OUTSIDE, settings, PluginContext(TRUST_DOMAIN))
    with pytest.raises(FailedPrecondition, match=missing):
        await publish(sink, source)
    await sink.aclose()


async def test_each_cluster_has_its_own_kubeconfig(
    cluster: FakeKubernetes, make: Make, source: BundleSource, tmp_path: Path
) -> None:
    with FakeKubernetes() as other:
        second = other.write_kubeconfig(tmp_path / "second")
        sink = make(
            clusters=[{"kube_config_file_path": str(second), "config_map": "there"}],
        )
        assert await publish(sink, source) == [True, True]
        assert content(cluster) == other.config_map("spire", "there")["data"]


def test_clusters_are_read_as_in_spire() -> None:
    def made(text: str) -> list[str]:
        return names(configure_in(OUTSIDE, parse(text), PluginContext(TRUST_DOMAIN)))

    assert made("") == ["this cluster: ConfigMap spire/spire-bundle"]
    assert made("clusters = []") == ["this cluster: ConfigMap spire/spire-bundle"]
    further = 'clusters = [{ kube_config_file_path = "/two" namespace = "n" }]'
    assert made(further) == ["/two: ConfigMap n/spire-bundle"]
    assert made(f'config_map = "mine"\n{further}') == [
        "this cluster: ConfigMap spire/mine",
        "/two: ConfigMap n/spire-bundle",
    ]
    assert made('webhook_label = "w"\napi_service_label = "a"') == [
        "this cluster: ConfigMap spire/spire-bundle",
        f"this cluster: {MUTATING} with label w=true",
        f"this cluster: {VALIDATING} with label w=true",
        "this cluster: apiservices with label a=true",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            'clusters = [{ namespace = "n" }]',
            "cluster configuration is missing kube_config_file_path",
            id="no kubeconfig",
        ),
        pytest.param("clusters = [5]", "clusters: expected a block", id="no block"),
        pytest.param("namespace = []", "namespace must be a string", id="no text"),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(text: str, fault: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        configure_in(OUTSIDE, parse(text), PluginContext(TRUST_DOMAIN))
    assert error.value.message == fault


def test_an_unknown_key_is_warned_of() -> None:
    context = PluginContext(TRUST_DOMAIN)
    configure_in(OUTSIDE, parse('config_mapp = "x"'), context)
    assert context.warnings == [
        'unknown setting "config_mapp" encountered; did you mean "config_map"? (line 1)'
    ]
