from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.workload_attestor import k8s
from spire_py_plugins.workload_attestor.k8s.attestor import K8sWorkloadAttestor
from spire_py_plugins.workload_attestor.k8s.settings import (
    K8sSettings,
    KubeletSettings,
    parse_settings,
)

from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@pytest.fixture(autouse=True)
def no_node_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_NODE_NAME", raising=False)


def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


def parse(**data: Any) -> K8sSettings:
    return parse_settings(data, context())


def kubelet(**data: Any) -> KubeletSettings:
    settings = parse(**data).kubelet
    assert settings is not None
    return settings


def test_defaults_are_those_of_spire() -> None:
    settings = parse()
    assert settings == K8sSettings(kubelet=KubeletSettings())
    assert kubelet().port == 10250
    assert kubelet().secure
    assert kubelet().authorities == SERVICE_ACCOUNT / "ca.crt"
    assert kubelet().token == SERVICE_ACCOUNT / "token"
    assert kubelet().reload_interval == timedelta(minutes=1)
    assert settings.max_poll_attempts == 60
    assert settings.poll_retry_interval == timedelta(milliseconds=500)


def test_everything_can_be_set() -> None:
    settings = parse(
        kubelet_secure_port=10260,
        kubelet_ca_path="/ca",
        token_path="/token",
        node_name="node-1",
        reload_interval="10s",
        max_poll_attempts=3,
        poll_retry_interval="1s",
        disable_container_selectors=True,
        enable_namespace_labels="true",
        use_new_container_locator=False,
        verbose_container_locator_logs=True,
    )
    assert settings == K8sSettings(
        kubelet=KubeletSettings(
            node_name="node-1",
            port=10260,
            authorities=Path("/ca"),
            token=Path("/token"),
            reload_interval=timedelta(seconds=10),
        ),
        max_poll_attempts=3,
        poll_retry_interval=timedelta(seconds=1),
        disable_container_selectors=True,
        enable_namespace_labels=True,
        use_new_container_locator=False,
        verbose_container_locator_logs=True,
    )


def test_the_read_only_port_is_not_secure() -> None:
    settings = kubelet(kubelet_read_only_port="10255")
    assert (settings.port, settings.secure) == (10255, False)


def test_what_is_not_above_zero_counts_as_unset() -> None:
    unset = {"kubelet_secure_port": 0, "kubelet_read_only_port": -1, "max_poll_attempts": 0}
    assert parse(**unset, poll_retry_interval="-1s", reload_interval="0") == parse()


def test_a_certificate_takes_the_tokens_place() -> None:
    settings = kubelet(certificate_path="/crt", private_key_path="/key")
    assert (settings.certificate, settings.private_key) == (Path("/crt"), Path("/key"))
    assert settings.token is None


def test_nothing_is_shown_to_the_kubelet_where_that_is_asked_for() -> None:
    assert kubelet(use_anonymous_authentication=True).token is None


def test_verification_can_be_skipped() -> None:
    assert kubelet(skip_kubelet_verification=True).authorities is None


def test_the_node_name_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_NODE_NAME", "node-1")
    monkeypatch.setenv("OTHER", "node-2")
    assert kubelet().node_name == "node-1"
    assert kubelet(node_name_env="OTHER").node_name == "node-2"
    assert kubelet(node_name_env="UNSET").node_name == ""
    assert kubelet(node_name_env="OTHER", node_name="node-3").node_name == "node-3"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            {"kubelet_secure_port": 1, "kubelet_read_only_port": 2},
            "cannot use both the read-only and secure port",
            id="both ports",
        ),
        pytest.param({"kubelet_secure_port": 65536}, "65536 is no port", id="port"),
        pytest.param(
            {"certificate_path": "/crt"},
            "the private key path is required with the certificate path",
            id="certificate alone",
        ),
        pytest.param(
            {"private_key_path": "/key"},
            "the certificate path is required with the private key path",
            id="key alone",
        ),
        pytest.param(
            {"poll_retry_interval": "soon"},
            'unable to parse poll retry interval: time: invalid duration "soon"',
            id="poll interval",
        ),
        pytest.param(
            {"reload_interval": "1"},
            'unable to parse reload interval: time: missing unit in duration "1"',
            id="reload interval",
        ),
        pytest.param(
            {"disable_kubelet_client": True, "node_name": "n", "token_path": "/t"},
            "disable_kubelet_client cannot be used with token_path; "
            "disable_kubelet_client cannot be used with node_name",
            id="kubelet disabled and configured",
        ),
        pytest.param({"sigstore": [{}]}, "sigstore is not available", id="sigstore"),
        pytest.param({"kubelet_secure_port": "x"}, "kubelet_secure_port must be", id="type"),
    ],
)
def test_faults_are_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(**data)
    assert message in caught.value.message


def test_unknown_and_unavailable_keys_are_warned_of() -> None:
    noted = context()
    parse_settings({"kubelet_secure_prot": 1, "experimental": [{"broker": [{}]}]}, noted)
    assert noted.warnings == [
        "experimental has no function in this release",
        'unknown setting "kubelet_secure_prot" encountered; did you mean "kubelet_secure_port"?',
    ]


async def test_nothing_is_opened_when_it_is_configured() -> None:
    attestor = k8s.configure({"enable_namespace_labels": True, "token_path": "/none"}, context())
    assert isinstance(attestor, K8sWorkloadAttestor)
    await attestor.aclose()


async def test_nobody_is_attested_without_the_kubelet() -> None:
    attestor = k8s.configure({"disable_kubelet_client": True}, context())
    with pytest.raises(FailedPrecondition, match="kubelet client is disabled"):
        await attestor.attest(1)
    await attestor.aclose()
