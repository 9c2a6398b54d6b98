"""Our server puts its bundle into ConfigMaps, and keeps it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from spire_py.spiffe.bundle_format import bundle_from_json, bundle_from_pem
from spire_py.spiffe.id import TrustDomain
from tests.fakes.kubernetes import FakeKubernetes, Fault
from tests.fakes.kubernetes.kinds import CONFIG_MAPS
from tests.fakes.kubernetes.store import Key
from tests.integration.daemons import TRUST_DOMAIN, Process, Stack, new_stack

PEM = ("spire", "spire-bundle")
JSON = ("spire", "spire-bundle-json")


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def stack(cluster: FakeKubernetes) -> Iterator[Stack]:
    with ExitStack() as resources:
        gone = resources.enter_context(FakeKubernetes())
        made = resources.enter_context(new_stack())
        there = cluster.write_kubeconfig(made.folder / "kubeconfig")
        away = gone.write_kubeconfig(made.folder / "kubeconfig-away")
        gone.faults.add(Fault.HANG)
        made.server_plugins = f"""
            Notifier "k8sbundle" {{ plugin_data {{
              kube_config_file_path = "{there}"
              clusters = [{{ kube_config_file_path = "{away}" }}]
            }} }}
            BundlePublisher "k8s_configmap" {{ plugin_data {{ clusters = {{
              "away" = {{ namespace = "spire" configmap_name = "c" configmap_key = "k"
                format = "pem" kubeconfig_path = "{away}" }}
              "there" = {{ namespace = "spire" configmap_name = "spire-bundle-json"
                configmap_key = "bundle.spiffe" format = "spiffe" kubeconfig_path = "{there}" }}
            }} }} }}
        """
        yield made
        made.close()


def server_bundle(stack: Stack) -> str:
    return stack.server("bundle", "show")


def test_the_config_maps_hold_the_bundle_whatever_is_done_to_them(
    cluster: FakeKubernetes, stack: Stack
) -> None:
    cluster.add_config_map("spire", "spire-bundle", {"other": "kept"})
    server: Process = stack.start_server()
    cluster.wait_for_config_map(*PEM, lambda data: "bundle.crt" in data)
    cluster.wait_for_config_map(*JSON, lambda data: "bundle.spiffe" in data)
    pem = cluster.config_map(*PEM)["data"]["bundle.crt"]
    domain = TrustDomain(TRUST_DOMAIN)
    shown = bundle_from_pem(domain, server_bundle(stack)).x509_authorities
    assert bundle_from_pem(domain, pem).x509_authorities == shown
    published = bundle_from_json(domain, cluster.config_map(*JSON)["data"]["bundle.spiffe"])
    assert published.x509_authorities == shown
    assert published.jwt_authorities

    merge = "application/merge-patch+json"
    cluster.store.patch(Key(CONFIG_MAPS, *PEM), {"data": {"bundle.crt": "bad"}}, merge, "kubectl")
    cluster.wait_for_config_map(*PEM, lambda data: data == {"other": "kept", "bundle.crt": pem})
    cluster.store.delete(Key(CONFIG_MAPS, *JSON))
    cluster.wait_for_config_map(*JSON, lambda data: "bundle.spiffe" in data)
    server.wait_for("published_bundle_was_changed", count=2)

    # Without its keys the server makes another authority.
    assert server.stop() == 0, server.output
    (stack.folder / "server-data" / "keys.json").unlink()
    server = stack.start_server()
    cluster.wait_for_config_map(
        *PEM, lambda data: data["bundle.crt"].count("BEGIN CERTIFICATE") == 2
    )

    # The other cluster never answered, which disturbs nobody.
    assert server.stop() == 0, server.output
