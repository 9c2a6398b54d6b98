"""BundlePublisher k8s_configmap: each cluster's ConfigMap is applied in its format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.bundle_publisher.k8s_configmap import K8sConfigMap, configure_in
from spire_py_plugins.kubernetes.in_cluster import Pod

from spire_py.config.hcl import parse
from spire_py.errors import InvalidArgument, PermissionDenied
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.bundle_format import bundle_from_json, bundle_to_pem
from tests.fakes.bundles import TRUST_DOMAIN, BundleSource, make_bundle
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.kubernetes.kinds import CONFIG_MAPS
from tests.fakes.kubernetes.store import Key

OUTSIDE = Pod(Path("/nowhere"), {})
KEY = Key(CONFIG_MAPS, "spire", "spire-bundle")

Make = Callable[..., K8sConfigMap]


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def source() -> BundleSource:
    return BundleSource(make_bundle(7))


@pytest.fixture
async def make(cluster: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[K8sConfigMap] = []

    def make_one(**settings: Any) -> K8sConfigMap:
        data = {
            "format": "spiffe",
            "namespace": "spire",
            "configmap_name": "spire-bundle",
            "configmap_key": "bundle.spiffe",
            "kubeconfig_path": str(cluster.write_kubeconfig(tmp_path / "kubeconfig")),
            **settings,
        }
        context = PluginContext(TRUST_DOMAIN)
        made.append(configure_in(OUTSIDE, {"clusters": {"one": data}}, context))
        return made[-1]

    yield make_one
    for sink in made:
        await sink.aclose()


def content(cluster: FakeKubernetes, key: str = "bundle.spiffe") -> str:
    text: str = cluster.store.get(KEY)["data"][key]
    return text


async def test_it_is_applied_as_a_spiffe_bundle(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    (target,) = make().targets
    assert target.name == "cluster one: ConfigMap spire/spire-bundle"
    assert await target.publish(source.load)
    assert bundle_from_json(TRUST_DOMAIN, content(cluster)) == source.bundle.with_changes(
        wit_authorities=()
    )
    assert not await target.publish(source.load)
    source.bundle = make_bundle(8)
    assert await target.publish(source.load)
    assert json.loads(content(cluster))["spiffe_sequence"] == 8
    (manager,) = {each.partition("fieldManager=")[2] for each in cluster.requests}
    assert manager.partition("&")[0] == "spire-bundlepublisher-k8s_configmap"


async def test_other_formats_and_a_refresh_hint(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    for settings in (
        {"format": "PEM", "configmap_key": "pem"},
        {"format": "jwks", "configmap_key": "jwks"},
        {"refresh_hint": "5m"},
    ):
        (target,) = make(**settings).targets
        await target.publish(source.load)
        cluster.store.patch(KEY, {}, "application/merge-patch+json", "keep")
        if settings.get("format") == "PEM":
            assert content(cluster, "pem") == bundle_to_pem(source.bundle)
        elif settings.get("format") == "jwks":
            first, second = json.loads(content(cluster, "jwks"))["keys"]
            assert set(first) == {"kty", "crv", "x", "y", "x5c"}
            assert set(second) == {"kty", "crv", "x", "y", "kid"}
        else:
            assert json.loads(content(cluster))["spiffe_refresh_hint"] == 300
    source.bundle = source.bundle.with_changes(refresh_hint=timedelta(hours=1))
    for hint in ("900ms", "-5m"):
        (target,) = make(refresh_hint=hint).targets
        await target.publish(source.load)
        assert json.loads(content(cluster))["spiffe_refresh_hint"] == 3600


async def test_several_keys_of_one_config_map_are_kept_together(
    cluster: FakeKubernetes, source: BundleSource, tmp_path: Path
) -> None:
    one = {
        "namespace": "spire",
        "configmap_name": "spire-bundle",
        "kubeconfig_path": str(cluster.write_kubeconfig(tmp_path / "kubeconfig")),
    }
    clusters = {each: {**one, "format": each, "configmap_key": each} for each in ("pem", "spiffe")}
    clusters["other"] = {**clusters["pem"], "configmap_name": "other"}
    sink = configure_in(OUTSIDE, {"clusters": clusters}, PluginContext(TRUST_DOMAIN))
    assert [target.name for target in sink.targets] == [
        "cluster pem, spiffe: ConfigMap spire/spire-bundle",
        "cluster other: ConfigMap spire/other",
    ]
    for target in sink.targets:
        assert await target.publish(source.load)
    assert set(cluster.store.get(KEY)["data"]) == {"pem", "spiffe"}
    patch = {"data": {"pem": None}}
    cluster.store.patch(KEY, patch, "application/merge-patch+json", "kubectl-edit")
    async with asyncio.timeout(10):
        await sink.targets[0].wait_for_change()
    await sink.aclose()


async def test_an_edit_of_someone_else_is_noticed_and_put_right(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    (target,) = make().targets
    await target.publish(source.load)
    patch = {"data": {"bundle.spiffe": "{}", "other": "kept"}}
    cluster.store.patch(KEY, patch, "application/merge-patch+json", "kubectl-edit")
    async with asyncio.timeout(10):
        await target.wait_for_change()
    assert await target.publish(source.load)
    assert json.loads(content(cluster))["spiffe_sequence"] == 7
    assert content(cluster, "other") == "kept"
    cluster.store.delete(KEY)
    assert await target.publish(source.load)
    assert json.loads(content(cluster))["spiffe_sequence"] == 7


async def test_a_missing_right_is_named(
    cluster: FakeKubernetes, make: Make, source: BundleSource
) -> None:
    cluster.rules.denied.add(("patch", "configmaps"))
    (target,) = make().targets
    with pytest.raises(PermissionDenied) as error:
        await target.publish(source.load)
    assert error.value.message.startswith('failed to apply ConfigMap for cluster "one": ')
    assert 'cannot patch resource "configmaps"' in error.value.message


ONE = 'format = "pem" namespace = "n" configmap_name = "c" configmap_key = "k"'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            'clusters = { "a" = {} }',
            'missing bundle format in cluster "a"; missing namespace in cluster "a"; '
            'missing configmap name in cluster "a"; missing configmap key in cluster "a"',
            id="nothing",
        ),
        pytest.param(
            'clusters = { "a" = { ' + ONE.replace("pem", "der") + " } }",
            'could not parse bundle format from cluster "a": unknown bundle format: "der"',
            id="format",
        ),
        pytest.param(
            'clusters = { "a" = { ' + ONE + ' refresh_hint = "x" } }',
            'could not parse refresh_hint from cluster "a": could not parse refresh hint "x": '
            'time: invalid duration "x"',
            id="refresh hint",
        ),
        pytest.param("clusters = 5", "clusters must be a map of clusters", id="no map"),
        pytest.param(
            'clusters = { "a" = 5 }', 'cluster "a" must be a map of settings', id="no cluster"
        ),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(text: str, fault: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        configure_in(OUTSIDE, parse(text), PluginContext(TRUST_DOMAIN))
    assert error.value.message == fault


@pytest.mark.parametrize(
    ("text", "note"),
    [
        pytest.param("", "No clusters configured, bundle will not be published", id="no cluster"),
        pytest.param(
            "clusters { a { " + ONE + ' refresh_hint = "24h" } }', "is a day or more", id="high"
        ),
        pytest.param(
            "clusters { a { " + ONE + ' refresh_hint = "59s" } }', "is below a minute", id="low"
        ),
    ],
)
def test_what_is_odd_about_the_settings_is_warned_of(text: str, note: str) -> None:
    context = PluginContext(TRUST_DOMAIN)
    configure_in(OUTSIDE, parse(text), context)
    (warning,) = context.warnings
    assert note in warning
