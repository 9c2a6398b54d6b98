"""What SPIRE's server has published, ours leaves as it is, and back again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.kubernetes.kinds import CONFIG_MAPS, find
from tests.fakes.kubernetes.store import Key
from tests.integration.daemons import OUR_SERVER, Stack, new_stack
from tests.peers.find import peer_binary

pytestmark = pytest.mark.peer("spire-server")

LABEL = "spiffe.io/inject"
FORMATS = ("spiffe", "jwks", "pem")
CLUSTER = """
"{format}" = {{ namespace = "spire" configmap_name = "{format}" configmap_key = "bundle"
  format = "{format}" refresh_hint = "5m" kubeconfig_path = "{kubeconfig}" }}
"""


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def stack(cluster: FakeKubernetes) -> Iterator[Stack]:
    with new_stack() as stack:
        kubeconfig = cluster.write_kubeconfig(stack.folder / "kubeconfig")
        clusters = "".join(CLUSTER.format(format=each, kubeconfig=kubeconfig) for each in FORMATS)
        stack.server_plugins = f"""
            Notifier "k8sbundle" {{ plugin_data {{
              kube_config_file_path = "{kubeconfig}"
              webhook_label = "{LABEL}"
              api_service_label = "{LABEL}"
            }} }}
            BundlePublisher "k8s_configmap" {{ plugin_data {{ clusters = {{ {clusters} }} }} }}
        """
        yield stack


def add_webhook(cluster: FakeKubernetes) -> Key:
    kind = find("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
    assert kind is not None
    webhook = {
        "name": "a.example.org",
        "clientConfig": {"url": "https://a.example.org"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    cluster.add(kind, "ours", metadata={"labels": {LABEL: "true"}}, webhooks=[webhook])
    return Key(kind, "", "ours")


def notified(cluster: FakeKubernetes, webhook: Key) -> tuple[str, str]:
    """The ConfigMap and the caBundle."""
    content = wait_for(cluster, "spire-bundle", "bundle.crt")
    ca_bundle = cluster.store.get(webhook)["webhooks"][0]["clientConfig"]["caBundle"]
    return content, base64.b64decode(ca_bundle).decode()


def published(cluster: FakeKubernetes) -> dict[str, Any]:
    """Each format; JSON without the order of keys, of which SPIRE has none."""
    found: dict[str, Any] = {name: wait_for(cluster, name, "bundle") for name in FORMATS}
    for name in ("spiffe", "jwks"):
        found[name] = json.loads(found[name])
        found[name]["keys"].sort(key=lambda key: (key.get("kid", ""), key["x"]))
    return found


def wait_for(cluster: FakeKubernetes, name: str, key: str) -> str:
    return cluster.wait_for_config_map("spire", name, lambda data: key in data)[key]


def forget(cluster: FakeKubernetes) -> None:
    """Whoever comes next has to write all of it anew."""
    for name, key in (("spire-bundle", "bundle.crt"), *((each, "bundle") for each in FORMATS)):
        place = Key(CONFIG_MAPS, "spire", name)
        cluster.store.patch(place, {"data": {key: None}}, "application/merge-patch+json", "test")


def test_servers_that_take_turns_publish_the_same(cluster: FakeKubernetes, stack: Stack) -> None:
    # SPIRE makes none.
    cluster.add_config_map("spire", "spire-bundle", {})
    webhook = add_webhook(cluster)
    stack.server_program = spires = (str(peer_binary("spire-server")),)
    server = stack.start_server()
    server.wait_for("Notifier handled event")
    in_pem, before = notified(cluster, webhook), published(cluster)
    assert in_pem == (before["pem"], before["pem"])
    assert before["spiffe"]["spiffe_refresh_hint"] == 300
    assert len(before["jwks"]["keys"]) == 2
    assert server.stop() == 0, server.output

    forget(cluster)
    stack.server_program = OUR_SERVER
    server = stack.start_server()
    assert notified(cluster, webhook) == in_pem
    assert published(cluster) == before
    assert server.stop() == 0, server.output
    assert "level=error" not in server.output

    # SPIRE's publisher begins after 30 seconds only.
    forget(cluster)
    stack.server_program = spires
    server = stack.start_server()
    server.wait_for("Notifier handled event")
    assert notified(cluster, webhook) == in_pem
